// Passes secrets in every place that a tracer looks at, and prints them, one a
// line: see ../../README.md.
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#define TRACED __attribute__((noipa, used))

static const char password[] = "correct-horse-battery", api_key[] = "k-5d41402abc4b2a76", card[] = "4111111111111111",
		  jwt[] = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJib2IifQ.bm90LWEtc2lnbmF0dXJl", said[] = "said-in-an-exception",
		  bearer[] = "opaque-bearer-value", token[] = "sess-77de68daecd8";

static volatile long sink;

struct Login {
	std::string user;
	std::string password_;
};

struct Request {
	std::string_view path;
	std::unique_ptr<Login> login;
	std::vector<std::pair<std::string, std::string>> headers;
	std::map<std::string, std::string> settings;
};

TRACED int log_in(const std::string &user, const std::string &password) { return user[0] + password[0]; }

TRACED int handle(const Request &r) { return static_cast<int>(r.headers.size()); }

TRACED int texts(std::string_view text, const std::string &other, const std::string &small)
{
	return text[0] + other[0] + small[0];
}

TRACED std::string issue(int n) { return std::string("Bearer ") + bearer + (n ? "" : "."); }

TRACED int refuse(int n)
{
	if (n)
		throw std::runtime_error(std::string("password=") + said + " is wrong");
	return n;
}

TRACED int harmless(const std::string &author, const std::string &keyboard, int tokenizer)
{
	return author[0] + keyboard[0] + tokenizer;
}

int main(int argc, char **argv)
{
	char line[8];

	if (argc > 1 && !strcmp(argv[1], "-wait")) {
		puts("ready");
		fflush(stdout);
		if (!fgets(line, sizeof line, stdin) || strcmp(line, "go\n"))
			return 0;
	}
	sink = log_in("bob", password);
	Request request{"/shop", std::make_unique<Login>(Login{"bob", password}), {{"X-Api-Key", api_key}}, {{"session_token", token}, {"theme", "dark"}}};
	sink = handle(request);
	sink = texts(jwt, std::string("card ") + card, "pwd=k1tten");
	sink = issue(1)[0];
	try {
		sink = refuse(1);
	} catch (const std::exception &e) {
		sink = e.what()[0];
	}
	sink = harmless("an author", "a keyboard", 3);
	for (const char *s : {password, api_key, jwt, card, bearer, said, token, "k1tten"})
		puts(s);
}
