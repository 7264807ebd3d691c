//! Passes secrets in every place that a tracer looks at, and prints them, one a
//! line: see ../../README.md.

use std::collections::HashMap;
use std::hint::black_box as opaque;
use std::io::{self, BufRead, Write};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const PASSWORD: &str = "correct-horse-battery";
const API_KEY: &str = "k-5d41402abc4b2a76";
const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJib2IifQ.bm90LWEtc2lnbmF0dXJl";
const CARD: &str = "4111111111111111";
const BEARER: &str = "opaque-bearer-value";
const IN_ERROR: &str = "said-in-an-error";

static SINK: AtomicUsize = AtomicUsize::new(0);

fn sink(x: usize) {
    SINK.fetch_add(x, Relaxed);
}

enum Credential {
    Password(String),
    Nothing,
}

struct Login {
    user: String,
    password: String,
    credential: Credential,
}

#[inline(never)]
fn log_in(user: &str, password: &str) -> usize {
    opaque(user).len() + opaque(password).len()
}

#[inline(never)]
fn handle(login: &Login, given: Credential) -> usize {
    let more = match (&login.credential, given) {
        (Credential::Password(a), Credential::Password(b)) => a.len() + b.len(),
        _ => 0,
    };
    login.user.len() + login.password.len() + more
}

#[inline(never)]
fn settings(all: &HashMap<String, String>, api_key: Option<&str>) -> usize {
    all.len() + api_key.map_or(0, str::len)
}

#[inline(never)]
fn texts(text: &str, other: String, bytes: &[u8]) -> usize {
    opaque(text).len() + opaque(other).len() + opaque(bytes).len()
}

#[inline(never)]
fn issue(n: usize) -> String {
    format!("Bearer {BEARER}{}", if n > 0 { "" } else { "." })
}

#[inline(never)]
fn refuse(n: usize) -> Result<usize, String> {
    if n > 0 { Err(format!("password={IN_ERROR} is wrong")) } else { Ok(n) }
}

#[inline(never)]
fn harmless(author: &str, keyboard: &str, tokenizer: i32) -> usize {
    opaque(author).len() + opaque(keyboard).len() + opaque(tokenizer) as usize
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("-wait") {
        println!("ready");
        let _ = io::stdout().flush();
        let mut line = String::new();
        if io::stdin().lock().read_line(&mut line).is_err() || line != "go\n" {
            return;
        }
    }
    sink(log_in(opaque("bob"), opaque(PASSWORD)));
    let login = Login { user: "bob".to_string(), password: PASSWORD.to_string(), credential: Credential::Password(PASSWORD.to_string()) };
    sink(handle(opaque(&login), opaque(Credential::Password(PASSWORD.to_string()))));
    sink(handle(opaque(&login), opaque(Credential::Nothing)));
    let all = HashMap::from([("db_password".to_string(), PASSWORD.to_string()), ("theme".to_string(), "dark".to_string())]);
    sink(settings(opaque(&all), opaque(Some(API_KEY))));
    sink(texts(opaque(JWT), format!("card {CARD}"), opaque(CARD.as_bytes())));
    sink(issue(opaque(1)).len());
    sink(refuse(opaque(1)).unwrap_or(1));
    sink(harmless(opaque("an author"), opaque("a keyboard"), opaque(3)));
    for secret in [PASSWORD, API_KEY, JWT, CARD, BEARER, IN_ERROR] {
        println!("{secret}");
    }
}
