// Command secrets passes secrets in every place that a tracer looks at, and prints
// them, one a line: see ../../README.md.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
)

// The secrets. Each is known by its name, by what it looks like, or both.
const (
	password  = "correct-horse-battery"
	apiKey    = "k-5d41402abc4b2a76"
	jwt       = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJib2IifQ.bm90LWEtc2lnbmF0dXJl"
	bearer    = "opaque-bearer-value"
	card      = "4111111111111111"
	spaced    = "5500 0000 0000 0004"
	keyLine   = "MIIBVAIBADANBgkqhkiG9w0BAQEFAASCAT4wggE6AgEAAkEA"
	session   = "sess-77de68daecd8"
	urlWord   = "in-the-url-itself"
	envWord   = "from-the-environment"
	panicWord = "said-in-a-panic"
	errorWord = "said-in-an-error"
)

var pem = "-----BEGIN PRIVATE KEY-----\n" + keyLine + "\n-----END PRIVATE KEY-----\n"

type login struct {
	User     string
	Password string
}

type request struct {
	Path          string
	Authorization string
	Cookies       []string
	login         *login
	Inner         struct{ SessionID []byte }
}

type payment struct {
	Holder     string
	CardNumber uint64
	CVV        int
	Any        any
}

type denied struct {
	Reason string
	Token  string
}

func (d *denied) Error() string { return d.Reason }

var sink any

//go:noinline
func logIn(user, password string) error {
	return fmt.Errorf("log in %s: %w", user, errors.New("password="+errorWord+" is wrong"))
}

//go:noinline
func handle(r request, p *request) int { return len(r.Path) + len(p.Path) }

//go:noinline
func pay(p *payment, number string) error {
	return errors.New("card " + number + " declined")
}

//go:noinline
func sign(data []byte, text string) int { return len(data) + len(text) }

//go:noinline
func untyped(v any, all ...any) int { sink = v; return len(all) }

//go:noinline
func connect(url string, env []string) bool { return len(url)+len(env) > 0 }

//go:noinline
func headers(h map[string][]string, settings map[any]any, byID map[int]string) int {
	return len(h) + len(settings) + len(byID)
}

//go:noinline
func issue(user string) (token string, err error) { return apiKey, nil }

//go:noinline
func plainResult(user string) string { return "Bearer " + bearer }

//go:noinline
func refuse(user string) error { return &denied{"no entry for " + user, apiKey} }

//go:noinline
func panicking(n int) { panic("token=" + panicWord) }

//go:noinline
func long(text string) int { return len(text) }

//go:noinline
func harmless(author, keyboard string, tokenizer int) int { return len(author) + tokenizer }

func recovered(f func()) {
	defer func() { sink = recover() }()
	f()
}

func main() {
	wait := flag.Bool("wait", false, "wait for a line before the calls")
	flag.Parse()
	if *wait {
		fmt.Println("ready")
		if line, _ := bufio.NewReader(os.Stdin).ReadString('\n'); line != "go\n" {
			return
		}
	}
	sink = logIn("bob", password)
	r := request{Path: "/shop", Authorization: "Basic " + apiKey, Cookies: []string{"sid=" + session}, login: &login{"bob", password}}
	r.Inner.SessionID = []byte(session)
	sink = handle(r, &r)
	sink = pay(&payment{"Bob", 4111111111111111, 737, spaced}, card)
	sink = sign([]byte(pem), "with "+jwt)
	sink = untyped(login{"bob", password}, jwt, []byte(card), &login{"bob", password}, map[string]string{"password": password})
	sink = connect("postgres://bob:"+urlWord+"@db:5432/shop", []string{"DB_PASSWORD=" + envWord, "HOME=/root"})
	sink = headers(map[string][]string{"Accept": {"text/html"}, "X-Api-Key": {apiKey}, "Cookie": {"sid=" + session}},
		map[any]any{"theme": "dark", "db_password": password}, map[int]string{1: "one", 2: jwt})
	sink, _ = issue("bob")
	sink = plainResult("bob")
	sink = refuse("bob")
	recovered(func() { panicking(1) })
	// Cut in the middle of a secret, at 256 bytes.
	for _, s := range []string{card, spaced, jwt, "Bearer " + bearer, "password=" + envWord} {
		sink = long(strings.Repeat(".", 256-len(s)+3) + s + strings.Repeat(".", 100))
	}
	sink = harmless("an author", "a keyboard", 3)
	for _, s := range []string{password, apiKey, jwt, bearer, card, card[:10], spaced, keyLine, session, urlWord, envWord, panicWord, errorWord} {
		fmt.Println(s)
	}
}
