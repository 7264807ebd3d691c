// Command validate reads Kubernetes manifests as strictly as an API server set to
// reject what it doesn't know: unknown and repeated fields are errors, defaults are
// filled in, and then the API server's own rules are applied. It prints the objects,
// with their defaults, as a JSON array.
//
// It is a module of its own: nobody who builds the tracer needs Kubernetes' code.
//
//	go run -C deploy/validate . ../daemonset.yaml
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/apps"
	appsinstall "k8s.io/kubernetes/pkg/apis/apps/install"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	coreinstall "k8s.io/kubernetes/pkg/apis/core/install"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/capabilities"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "validate:", err)
		os.Exit(1)
	}
}

func run(files []string, out io.Writer) error {
	if len(files) == 0 {
		return errors.New("no file named")
	}
	// As nearly every API server is started (--allow-privileged).
	capabilities.Initialize(capabilities.Capabilities{AllowPrivileged: true})
	scheme := runtime.NewScheme()
	coreinstall.Install(scheme)
	appsinstall.Install(scheme)
	objects := []json.RawMessage{}
	for _, file := range files {
		found, err := readFile(scheme, file)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		objects = append(objects, found...)
	}
	return json.NewEncoder(out).Encode(objects)
}

// readFile reads the YAML documents of a file.
func readFile(scheme *runtime.Scheme, file string) ([]json.RawMessage, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var objects []json.RawMessage
	for documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(raw))); ; {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		object, err := readObject(scheme, document)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", len(objects)+1, err)
		}
		objects = append(objects, object)
	}
	if len(objects) == 0 {
		return nil, errors.New("it holds no document")
	}
	return objects, nil
}

// readObject decodes a document strictly, validates it and gives it as JSON.
func readObject(scheme *runtime.Scheme, document []byte) (json.RawMessage, error) {
	codecs := serializer.NewCodecFactory(scheme, serializer.EnableStrict)
	object, kind, err := codecs.UniversalDecoder().Decode(document, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	if err := validate(object); err != nil {
		return nil, fmt.Errorf("validate %s: %w", kind.Kind, err)
	}
	info, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), runtime.ContentTypeJSON)
	encoded, err := runtime.Encode(codecs.EncoderForVersion(info.Serializer, schema.GroupVersions{kind.GroupVersion()}), object)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", kind.Kind, err)
	}
	return encoded, nil
}

// validate applies the API server's rules for creating the object.
func validate(object runtime.Object) error {
	var errs field.ErrorList
	switch o := object.(type) {
	case *core.Namespace:
		errs = corevalidation.ValidateNamespace(o)
	case *core.ServiceAccount:
		errs = corevalidation.ValidateServiceAccount(o)
	case *apps.DaemonSet:
		options := pod.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil)
		errs = appsvalidation.ValidateDaemonSet(o, options)
	default:
		return fmt.Errorf("no rules for a %T here", object)
	}
	return errs.ToAggregate()
}
