package secret

import (
	"slices"
	"strings"
	"testing"
)

func TestName(t *testing.T) {
	rules := Rules{Also: func(name string) string {
		if name == "Email" {
			return "e-mail"
		}
		return ""
	}}
	for name, want := range map[string]string{
		"password": "password", "Password": "password", "PASSWORD_HASH": "password", "userPassword": "password", "db-passwd": "passwd",
		"newuserpassword": "password", "passwords": "password", "m_password": "password", "pwd": "pwd", "passphrase": "passphrase",
		"token": "token", "authToken": "token", "access_token": "token", "OAuth2Token": "token", "csrftoken": "token", "tokens": "token",
		"clientSecret": "secret", "clientsecret": "secret", "AWS_SECRET_ACCESS_KEY": "secret",
		"Authorization": "authorization", "Proxy-Authorization": "authorization", "Cookie": "cookie", "set-cookie": "cookie",
		"apiKey": "api key", "APIKey": "api key", "API_KEY": "api key", "x-api-key": "api key", "apikey": "api key", "apiKeys": "api key",
		"privateKey": "private key", "private_key_pem": "private key", "cardNumber": "card number", "CARD_NUMBER": "card number",
		"creditCard": "credit card", "creditcard": "credit card", "cvv": "cvv", "CVV2": "cvv", "ssn": "ssn", "userSSN": "ssn",
		"credentials": "credential", "credential": "credential", "sessionId": "session id", "session_id": "session id", "SessionID": "session id",
		"SESSIONID": "session id", "JSESSIONID": "jsessionid", "pass": "pass", "user_pass": "user pass", "spring.datasource.password": "password",
		"Email": "e-mail",

		"author": "", "authority": "", "tokenizer": "", "tokenize": "", "secretary": "", "passage": "", "keyboard": "", "cardinality": "",
		"compass": "", "bypass": "", "passes": "", "key": "", "keys": "", "cardId": "", "discardNumber": "", "discard": "", "session": "",
		"sessions": "", "passenger": "", "passCount": "", "pinned": "", "pageNo": "", "publicKey": "", "primaryKey": "", "expand": "",
		"assn": "", "email": "", "": "", "_": "", "0": "", "größe": "", "user": "", "id": "", "cookbook": "",
	} {
		if got := rules.Name(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	if got := rules.Name(strings.Repeat("x", 10000) + "password"); got != "" {
		t.Errorf("a long name: %q", got)
	}
}

const (
	jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.c2lnbmF0dXJlLXRleHQ"
	pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIBOgIBAAJBAK\nabc=\n-----END RSA PRIVATE KEY-----"
)

func TestReplace(t *testing.T) {
	var rules Rules
	for _, c := range []struct{ text, want string }{
		{jwt, "[redacted: jwt]"},
		{"auth " + jwt + " was refused", "auth [redacted: jwt] was refused"},
		{`{"a":"` + jwt + `"}`, `{"a":"[redacted: jwt]"}`},
		{`say\n` + jwt, `say\n[redacted: jwt]`},
		{pem, "[redacted: private key]"},
		{"key: " + pem + "\nend", "key: [redacted: private key]\nend"},
		{"-----BEGIN PRIVATE KEY-----\nMIIE", "[redacted: private key]"},
		{"-----BEGIN PGP PRIVATE KEY BLOCK-----\nlQ", "[redacted: private key]"},
		{"Bearer abc.def", "[redacted: bearer]"},
		{"header: bearer s3cr3t, again", "header: [redacted: bearer], again"},
		{"AKIAIOSFODNN7EXAMPLE", "[redacted: api key]"},
		{"with ghp_0123456789abcdefghijABCDEFGHIJ012345 it failed", "with [redacted: api key] it failed"},
		{"sk_live_4eC39HqLyjWDarjtT1zdp7dc", "[redacted: api key]"},
		{"4111111111111111", "[redacted: card number]"},
		{"card 4111 1111 1111 1111 declined", "card [redacted: card number] declined"},
		{"5500-0000-0000-0004", "[redacted: card number]"},
		{"3782 822463 10005", "[redacted: card number]"},
		{"no.6011111111111117,", "no.[redacted: card number],"},
		{"4111 1111 1111 1111 123", "[redacted: card number] 123"},
		{"4222222222222", "[redacted: card number]"},
		{"6304000000000000000", "[redacted: card number]"},
		{"login failed: user=bob password=hunter2 from 10.0.0.1", "login failed: user=bob password=[redacted: password] from 10.0.0.1"},
		{`{"user":"bob","password": "hun\"ter2","n":1}`, `{"user":"bob","password": [redacted: password],"n":1}`},
		{`"{\"password\":\"hunter2\",\"n\":1}"`, `"{\"password\":[redacted: password],\"n\":1}"`},
		{"{User:bob Password:hunter2 Age:3}", "{User:bob Password:[redacted: password] Age:3}"},
		{"GET /?access_token=a1b2&n=1", "GET /?access_token=[redacted: token]&n=1"},
		{"Authorization: Basic dTpwdw\r\nHost: a", "Authorization: [redacted: authorization]\r\nHost: a"},
		{"Cookie: sid=1; theme=dark\nHost: a", "Cookie: [redacted: cookie]\nHost: a"},
		{"password: correct horse", "password: [redacted: password]"},
		{"wrong password: hunter2 for bob", "wrong password: [redacted: password]"},
		{"wrong password: swordfish", "wrong password: [redacted: password]"},
		{"a: b\n  - api_key: abc\nc: d", "a: b\n  - api_key: [redacted: api key]\nc: d"},
		{"PGPASSWORD=hunter2", "PGPASSWORD=[redacted: password]"},
		{"postgres://bob:hun:t@er2@db:5432/shop", "postgres://bob:[redacted: password]@db:5432/shop"},
		{"two: 4111111111111111 and " + jwt, "two: [redacted: card number] and [redacted: jwt]"},

		{"an order of twelve books", ""},
		{"", ""},
		{"eyJ", ""},
		{"eyJub3QiOiJhIHRva2VuIn0", ""},
		{"4111111111111112", ""},
		{"1732612345678", ""}, // a time
		{"0000000000000000", ""},
		{"52.4111111111111111", ""},
		{"41111111111111110000", ""}, // 20 digits
		{"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", ""},
		{"-----BEGIN PUBLIC KEY-----\nMIIB", ""},
		{"bearer token expired", ""},
		{"the bearer of this", ""},
		{"invalid token: unexpected end of file", ""},
		{"secret: not found", ""},
		{"check password: crypto/bcrypt: hashedPassword is not the hash of the given password", ""},
		{"password: ", ""},
		{"http://example.com:8080/a@b", ""},
		{"http://bob@example.com/", ""},
		{"open /etc/shop.conf: no such file or directory", ""},
		{"skip task-sk-1", ""},
		{"555-1234 555-9999", ""},
		{"2024-11-26 13:49:54", ""},
	} {
		got, found := rules.Replace([]byte(c.text), false)
		if c.want == "" {
			c.want = c.text
		}
		if string(got) != c.want || found != (c.want != c.text) {
			t.Errorf("%q: %q (%v), want %q", c.text, got, found, c.want)
		}
	}
}

// TestCut holds that no secret slips through because its end was cut off: whatever the
// cut leaves is withheld as soon as it says anything.
func TestCut(t *testing.T) {
	var rules Rules
	for _, c := range []struct {
		secret string
		least  int // bytes that may be left without being withheld
	}{
		{jwt, 2},
		{pem, len("-----BEGIN RSA PRIVATE KEY") - 1},
		{"Bearer abcdefgh12345678", len("Bearer ")},
		{"ghp_0123456789abcdefghijABCDEFGHIJ012345", len("ghp_")},
		{"AKIAIOSFODNN7EXAMPLE", len("AKIA")},
		{"github_pat_11ABCDEFG0123456789", len("github_pat_")},
		{"4111111111111111", 6},
		{"4111 1111 1111 1111", len("4111 11")},
		{"4111-1111-1111-1111", len("4111-11")},
		{"password=hunter2", len("password=")},
		{`{"password": "hunter2"}`, len(`{"password": `)},
		{"postgres://bob:hunter2@db/", len("postgres://bob:")},
	} {
		for n := c.least + 1; n < len(c.secret); n++ {
			text := "text before " + c.secret[:n]
			if got, found := rules.Replace([]byte(text), true); !found {
				t.Errorf("%q cut to %q", c.secret, got)
			}
		}
	}
	for _, text := range []string{"an order of twelve books", "order 12345", "eyes", ""} {
		if m, found := rules.Find([]byte(text), true); found {
			t.Errorf("%q has %v", text, m)
		}
	}
}

func TestCommandLine(t *testing.T) {
	args := []string{"attach", "-s", "pass*", "--", "./server", "--token", "t0p", "--db-password=hunter2", "--api-key", "-k1", "postgres://a:b@c/", "-password", "--", "y"}
	want := []string{"attach", "-s", "pass*", "--", "./server", "--token", "[redacted: token]", "--db-password=[redacted: password]", "--api-key", "[redacted: api key]", "postgres://a:[redacted: password]@c/", "-password", "--", "y"}
	if got := new(Rules).CommandLine(args); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func FuzzReplace(f *testing.F) {
	for _, text := range []string{jwt, pem, "Bearer x", "4111 1111 1111 1111", `{"password": "a`, "a://b:c@d", "\\\"pwd\\\":\\\"x"} {
		f.Add([]byte(text), true)
	}
	var rules Rules
	f.Fuzz(func(t *testing.T, text []byte, cut bool) {
		m, ok := rules.Find(text, cut)
		if ok && (m.Start < 0 || m.End <= m.Start || m.End > len(text) || m.Rule == "") {
			t.Fatalf("%q: match %+v", text, m)
		}
		if out, found := rules.Replace(text, cut); found != ok || len(out) > 40*len(text) {
			t.Errorf("%q: %v and %v, %d bytes", text, ok, found, len(out))
		}
	})
}

func BenchmarkFind(b *testing.B) {
	var rules Rules
	for name, text := range map[string]string{
		"short": "an order of twelve books",
		"long":  strings.Repeat("it was the best of times, ", 10)[:256],
		"json":  strings.Repeat(`{"id": 12, "name": "twelve books"}, `, 8)[:256],
	} {
		b.Run(name, func(b *testing.B) {
			bytes := []byte(text)
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := rules.Find(bytes, false); ok {
					b.Fatal("found something")
				}
			}
		})
	}
}

func BenchmarkName(b *testing.B) {
	var rules Rules
	b.ReportAllocs()
	for b.Loop() {
		if rules.Name("shippingAddressLine") != "" {
			b.Fatal("secret")
		}
	}
}
