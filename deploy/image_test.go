package deploy_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// image is a container image with one layer.
type image struct {
	name       string
	files      map[string]string // path in the image, without the first slash, to a file here
	entrypoint []string
}

// descriptor points to a blob (OCI image specification, descriptor.md).
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// archive writes the image as a tar archive of an OCI image layout (image-layout.md).
func (i image) archive(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w := layout{t, tar.NewWriter(file)}
	const spec = "application/vnd.oci.image."
	layer := w.blob(spec+"layer.v1.tar", i.layer(t))
	config := w.json(spec+"config.v1+json", map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": i.entrypoint},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{layer.Digest}},
	})
	manifest := w.json(spec+"manifest.v1+json", map[string]any{
		"schemaVersion": 2, "mediaType": spec + "manifest.v1+json", "config": config, "layers": []descriptor{layer},
	})
	manifest.Annotations = map[string]string{"io.containerd.image.name": i.name}
	w.add("index.json", w.marshal(map[string]any{"schemaVersion": 2, "manifests": []descriptor{manifest}}), 0o644)
	w.add("oci-layout", []byte(`{"imageLayoutVersion": "1.0.0"}`), 0o644)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// layer is the image's files as a tar archive.
func (i image) layer(t *testing.T) []byte {
	t.Helper()
	var raw bytes.Buffer
	w := layout{t, tar.NewWriter(&raw)}
	for name, path := range i.files {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		w.add(name, content, 0o755)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return raw.Bytes()
}

// layout writes the files of an archive.
type layout struct {
	t *testing.T
	*tar.Writer
}

func (w layout) add(name string, content []byte, mode int64) {
	w.t.Helper()
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content))}); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		w.t.Fatal(err)
	}
}

func (w layout) blob(mediaType string, content []byte) descriptor {
	w.t.Helper()
	sum := fmt.Sprintf("%x", sha256.Sum256(content))
	w.add("blobs/sha256/"+sum, content, 0o644)
	return descriptor{MediaType: mediaType, Digest: "sha256:" + sum, Size: len(content)}
}

func (w layout) json(mediaType string, value any) descriptor {
	w.t.Helper()
	return w.blob(mediaType, w.marshal(value))
}

func (w layout) marshal(value any) []byte {
	w.t.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		w.t.Fatal(err)
	}
	return raw
}

// instructions gives the instructions of the Containerfile's last stage, as words.
func instructions(t *testing.T) [][]string {
	t.Helper()
	raw, err := os.ReadFile("Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	var stage [][]string
	for _, line := range strings.Split(string(raw), "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if words[0] == "FROM" {
			stage = nil
		}
		stage = append(stage, words)
	}
	return stage
}

// tracerImage is the image that the Containerfile describes, under the name that the
// manifest runs: the program on an empty root filesystem.
func tracerImage(t *testing.T) image {
	t.Helper()
	i := image{name: tracer(t, plain).Image, files: map[string]string{}}
	for _, words := range instructions(t) {
		switch words[0] {
		case "FROM":
			if words[1] != "scratch" {
				t.Fatalf("the image begins with %s: this test makes it from nothing", words[1])
			}
		case "COPY":
			i.files[strings.TrimPrefix(words[3], "/")] = static(t)
		case "ENTRYPOINT":
			if err := json.Unmarshal([]byte(strings.Join(words[1:], " ")), &i.entrypoint); err != nil {
				t.Fatalf("read entry point: %v", err)
			}
		default:
			t.Fatalf("%s in the image: this test knows nothing of it", words[0])
		}
	}
	if len(i.files) != 1 || len(i.entrypoint) != 1 || i.files[strings.TrimPrefix(i.entrypoint[0], "/")] == "" {
		t.Fatalf("files %v, entry point %v: want the program, and it to run", i.files, i.entrypoint)
	}
	return i
}
