/*
 * Passes secrets in every place that a tracer looks at, and prints them, one a
 * line: see ../../README.md.
 */
#include <stdio.h>
#include <string.h>
#include <wchar.h>

#define TRACED __attribute__((noipa, used))

#define PASSWORD "correct-horse-battery"
#define API_KEY "k-5d41402abc4b2a76"
#define JWT "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJib2IifQ.bm90LWEtc2lnbmF0dXJl"
#define BEARER "opaque-bearer-value"
#define CARD "4111111111111111"
#define SPACED "5500 0000 0000 0004"
#define KEY_LINE "MIIBVAIBADANBgkqhkiG9w0BAQEFAASCAT4wggE6AgEAAkEA"
#define PEM "-----BEGIN RSA PRIVATE KEY-----\n" KEY_LINE "\n-----END RSA PRIVATE KEY-----\n"

struct login {
	const char *user;
	char password[32];
};

struct request {
	const char *path;
	const char *authorization;
	struct login *login;
	char body[64];
	union {
		char session_id[24];
		long number;
	} u;
};

static volatile long sink;

TRACED int log_in(const char *user, const char *password)
{
	return user[0] + password[0];
}

TRACED int handle(struct request r, const struct request *p)
{
	return r.path[0] + p->path[0];
}

TRACED int pay(const char *number, unsigned long card_number, int cvv)
{
	return number[0] + (int)card_number + cvv;
}

TRACED int sign(const unsigned char *data, const char *text, char *buffer)
{
	return data[0] + text[0] + buffer[0];
}

TRACED const char *get_header(const char *name)
{
	return name[0] ? "Bearer " BEARER : NULL;
}

TRACED int long_text(const char *text)
{
	return text[0];
}

TRACED int wide_text(const wchar_t *text)
{
	return (int)text[0];
}

TRACED int harmless(const char *author, const char *keyboard, int tokenizer)
{
	return author[0] + keyboard[0] + tokenizer;
}

int main(int argc, char **argv)
{
	static const char *secrets[] = {PASSWORD, API_KEY, JWT, BEARER, CARD, "4111111111", SPACED, KEY_LINE};
	static const char *cut[] = {CARD, SPACED, JWT, "Bearer " BEARER, "password=" PASSWORD};
	struct login login = {"bob", PASSWORD};
	struct request request = {"/shop", "Basic " API_KEY, &login, "{\"password\": \"" PASSWORD "\"}", {PASSWORD}};
	char buffer[] = SPACED, line[8];

	if (argc > 1 && !strcmp(argv[1], "-wait")) {
		puts("ready");
		fflush(stdout);
		if (!fgets(line, sizeof line, stdin) || strcmp(line, "go\n"))
			return 0;
	}
	sink = log_in("bob", PASSWORD);
	sink = handle(request, &request);
	sink = pay(CARD, 4111111111111111, 737);
	sink = sign((const unsigned char *)PEM, "with " JWT, buffer);
	sink = sign((const unsigned char *)"x", PEM, buffer);
	sink = get_header("authorization")[0];
	/* Cut in the middle of a secret, at 256 bytes. */
	for (unsigned i = 0; i < sizeof cut / sizeof *cut; i++) {
		char text[400];
		size_t n = 256 - strlen(cut[i]) + 3;

		memset(text, '.', sizeof text);
		memcpy(text + n, cut[i], strlen(cut[i]));
		text[sizeof text - 1] = 0;
		sink = long_text(text);
	}
	sink += wide_text(L"" JWT);
	sink = harmless("an author", "a keyboard", 3);
	for (unsigned i = 0; i < sizeof secrets / sizeof *secrets; i++)
		puts(secrets[i]);
	return 0;
}
