//! Makes known numbers of calls and prints how many of each function: see
//! ../../README.md for its arguments and output.

use std::fmt;
use std::io::{self, BufRead, Write};
use std::panic::{self, AssertUnwindSafe};
use std::process;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::thread;

struct Tally {
    name: &'static str,
    calls: AtomicI64,
    returns: AtomicI64,
}

// Declares a counter for each function, under the name that the function is known by.
macro_rules! functions {
    ($($id:ident $name:literal,)*) => {
        $(static $id: Tally = Tally { name: $name, calls: AtomicI64::new(0), returns: AtomicI64::new(0) };)*
        static FUNCTIONS: &[&Tally] = &[$(&$id),*];
    };
}

functions! {
    ADD "counts::add",
    FLOATS "counts::floats",
    TEXT "counts::text",
    OWN "counts::own",
    GREET "counts::greet",
    SUM "counts::sum",
    LARGEST "counts::largest",
    HALF "counts::half",
    LOOKUP "counts::lookup",
    PARSE "counts::parse",
    PARSE_BOTH "counts::parse_both",
    SQUARE_AREA "<counts::Square as counts::Shape>::area",
    CIRCLE_AREA "<counts::Circle as counts::Shape>::area",
    TOTAL_AREA "counts::total_area",
    DEPOSIT "counts::Account::deposit",
    BALANCE "counts::Account::balance",
    APPLY "counts::apply",
    BIG "counts::big",
    FIB "counts::fib",
    TAIL_FIRST "counts::tail_first",
    TAIL_SECOND "counts::tail_second",
    C_ABI "counts_c_abi",
    GUARD_DROP "<counts::Guard as core::ops::drop::Drop>::drop",
    RAISE "counts::raise",
    RAISE_THROUGH "counts::raise_through",
    CATCHES "counts::catches",
    RAISE_ANY "counts::raise_any",
    CATCH_ANY "counts::catch_any",
    RESUME "counts::resume",
    CATCH_RESUMED "counts::catch_resumed",
    CAREFUL_DROP "<counts::Careful as core::ops::drop::Drop>::drop",
    PASS_CAREFUL "counts::pass_careful",
    CATCH_CAREFUL "counts::catch_careful",
    INDEX "counts::index",
    DIVIDE "counts::divide",
    UNWRAP "counts::unwrap",
    CATCH_RUNTIME "counts::catch_runtime",
    LOOPS "counts::loops",
    WORKER "counts::worker",
    DOOMED "counts::doomed",
    HELD "counts::held",
}

#[inline(always)]
fn enter(t: &Tally) {
    t.calls.fetch_add(1, Relaxed);
}

#[inline(always)]
fn leave(t: &Tally) {
    t.returns.fetch_add(1, Relaxed);
}

#[inline(never)]
fn add(a: i64, b: u8) -> i64 {
    enter(&ADD);
    leave(&ADD);
    a + i64::from(b)
}

#[inline(never)]
fn floats(a: f64, b: f32) -> f64 {
    enter(&FLOATS);
    leave(&FLOATS);
    a * f64::from(b)
}

#[inline(never)]
fn text(s: &str, more: &String) -> usize {
    enter(&TEXT);
    let n = s.len() + more.len();
    leave(&TEXT);
    n
}

#[inline(never)]
fn own(s: String) -> String {
    enter(&OWN);
    let longer = s + "!";
    leave(&OWN);
    longer
}

#[inline(never)]
fn greet(name: &str) -> String {
    enter(&GREET);
    let greeting = format!("hello, {}", name);
    leave(&GREET);
    greeting
}

#[inline(never)]
fn sum(values: &[i64]) -> i64 {
    enter(&SUM);
    let total = values.iter().sum();
    leave(&SUM);
    total
}

#[inline(never)]
fn largest<T: PartialOrd + Copy>(values: &[T]) -> Option<T> {
    enter(&LARGEST);
    let mut best = None;
    for &v in values {
        if best.map_or(true, |b| v > b) {
            best = Some(v);
        }
    }
    leave(&LARGEST);
    best
}

#[inline(never)]
fn half(n: i32) -> Option<i32> {
    enter(&HALF);
    leave(&HALF);
    if n % 2 == 0 {
        Some(n / 2)
    } else {
        None
    }
}

#[derive(Debug)]
struct StockError {
    item: String,
    left: i32,
}

impl fmt::Display for StockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "only {} of {} left", self.left, self.item)
    }
}

impl std::error::Error for StockError {}

#[inline(never)]
fn lookup(item: &str, left: i32) -> Result<i32, StockError> {
    enter(&LOOKUP);
    let result = if left % 4 == 0 {
        Err(StockError { item: item.to_string(), left })
    } else {
        Ok(left)
    };
    leave(&LOOKUP);
    result
}

#[inline(never)]
fn parse(s: &str) -> Result<i64, std::num::ParseIntError> {
    enter(&PARSE);
    let result = s.parse();
    leave(&PARSE);
    result
}

#[inline(never)]
fn parse_both(a: &str, b: &str) -> Result<i64, Box<dyn std::error::Error>> {
    enter(&PARSE_BOTH);
    let result = parse(a).and_then(|a| Ok(a + parse(b)?));
    leave(&PARSE_BOTH);
    Ok(result?)
}

trait Shape {
    fn area(&self) -> i64;
}

struct Square(i64);
struct Circle {
    radius: i64,
}

impl Shape for Square {
    #[inline(never)]
    fn area(&self) -> i64 {
        enter(&SQUARE_AREA);
        leave(&SQUARE_AREA);
        self.0 * self.0
    }
}

impl Shape for Circle {
    #[inline(never)]
    fn area(&self) -> i64 {
        enter(&CIRCLE_AREA);
        leave(&CIRCLE_AREA);
        3 * self.radius * self.radius
    }
}

#[inline(never)]
fn total_area(shapes: &[Box<dyn Shape>]) -> i64 {
    enter(&TOTAL_AREA);
    let total = shapes.iter().map(|s| s.area()).sum();
    leave(&TOTAL_AREA);
    total
}

struct Account {
    owner: String,
    cents: i64,
}

impl Account {
    #[inline(never)]
    fn deposit(&mut self, cents: i64) -> i64 {
        enter(&DEPOSIT);
        self.cents += cents;
        leave(&DEPOSIT);
        self.cents
    }

    #[inline(never)]
    fn balance(&self) -> i64 {
        enter(&BALANCE);
        leave(&BALANCE);
        self.cents + self.owner.len() as i64
    }
}

#[inline(never)]
fn apply(f: &dyn Fn(i64) -> i64, x: i64) -> i64 {
    enter(&APPLY);
    let result = f(x);
    leave(&APPLY);
    result
}

#[derive(Clone, Copy)]
struct Big {
    words: [i64; 8],
}

#[inline(never)]
fn big(b: Big, scale: i64) -> Big {
    enter(&BIG);
    let mut out = b;
    for w in out.words.iter_mut() {
        *w *= scale;
    }
    leave(&BIG);
    out
}

#[inline(never)]
fn fib(n: u32) -> u64 {
    enter(&FIB);
    let result = if n > 1 { fib(n - 1) + fib(n - 2) } else { u64::from(n) };
    leave(&FIB);
    result
}

#[inline(never)]
fn tail_second(a: i64, b: i64) -> i64 {
    enter(&TAIL_SECOND);
    leave(&TAIL_SECOND);
    a - b
}

// Optimised, it is left by a jump.
#[inline(never)]
fn tail_first(a: i64) -> i64 {
    enter(&TAIL_FIRST);
    leave(&TAIL_FIRST);
    tail_second(a * 2, a)
}

#[inline(never)]
#[no_mangle]
extern "C" fn counts_c_abi(a: i32, b: i64) -> i64 {
    enter(&C_ABI);
    leave(&C_ABI);
    i64::from(a) + b
}

static CLEANED: AtomicI64 = AtomicI64::new(0);

// Dropped while a panic unwinds its scope.
struct Guard(i64);

impl Drop for Guard {
    #[inline(never)]
    fn drop(&mut self) {
        enter(&GUARD_DROP);
        CLEANED.fetch_add(self.0, Relaxed);
        leave(&GUARD_DROP);
    }
}

#[inline(never)]
fn raise(x: i64) -> i64 {
    enter(&RAISE);
    if x % 3 == 0 {
        panic!("multiple of three: {}", x);
    }
    leave(&RAISE);
    x
}

#[inline(never)]
fn raise_through(x: i64, depth: u32) -> i64 {
    enter(&RAISE_THROUGH);
    let guard = Guard(x);
    let result = if depth > 0 { raise_through(x, depth - 1) } else { raise(x) } + guard.0;
    leave(&RAISE_THROUGH);
    result
}

fn catch<T>(f: impl FnOnce() -> T) -> thread::Result<T> {
    panic::catch_unwind(AssertUnwindSafe(f))
}

#[inline(never)]
fn catches(x: i64, depth: u32) -> i64 {
    enter(&CATCHES);
    let result = match catch(|| raise_through(x, depth)) {
        Ok(value) => value,
        Err(payload) => payload.downcast_ref::<String>().map_or(-1, |s| s.len() as i64),
    };
    leave(&CATCHES);
    result
}

#[inline(never)]
fn raise_any(left: i32) -> i64 {
    enter(&RAISE_ANY);
    panic::panic_any(StockError { item: "books".to_string(), left });
}

#[inline(never)]
fn catch_any(left: i32) -> i64 {
    enter(&CATCH_ANY);
    let result = match catch(|| raise_any(left)) {
        Ok(value) => value,
        Err(payload) => payload.downcast_ref::<StockError>().map_or(-1, |e| i64::from(e.left)),
    };
    leave(&CATCH_ANY);
    result
}

#[inline(never)]
fn resume(x: i64) -> i64 {
    enter(&RESUME);
    let result = match catch(|| raise(x * 3)) {
        Ok(value) => value,
        Err(payload) => panic::resume_unwind(payload),
    };
    leave(&RESUME);
    result
}

#[inline(never)]
fn catch_resumed(x: i64) -> i64 {
    enter(&CATCH_RESUMED);
    let result = catch(|| resume(x)).unwrap_or(1);
    leave(&CATCH_RESUMED);
    result
}

// Finds out, when it is dropped, whether a panic is under way.
struct Careful;

impl Drop for Careful {
    #[inline(never)]
    fn drop(&mut self) {
        enter(&CAREFUL_DROP);
        CLEANED.fetch_add(i64::from(thread::panicking()), Relaxed);
        leave(&CAREFUL_DROP);
    }
}

#[inline(never)]
fn pass_careful(x: i64) -> i64 {
    enter(&PASS_CAREFUL);
    let _careful = Careful;
    let heap = vec![x; 10];
    let result = raise(heap[5]);
    leave(&PASS_CAREFUL);
    result
}

#[inline(never)]
fn catch_careful(x: i64) -> i64 {
    enter(&CATCH_CAREFUL);
    let result = catch(|| pass_careful(x)).unwrap_or(2);
    leave(&CATCH_CAREFUL);
    result
}

#[inline(never)]
fn index(values: &[i64], i: usize) -> i64 {
    enter(&INDEX);
    let value = values[i];
    leave(&INDEX);
    value
}

#[inline(never)]
fn divide(a: i64, b: i64) -> i64 {
    enter(&DIVIDE);
    let result = a / b;
    leave(&DIVIDE);
    result
}

#[inline(never)]
fn unwrap(value: Option<i64>) -> i64 {
    enter(&UNWRAP);
    let result = value.unwrap();
    leave(&UNWRAP);
    result
}

#[inline(never)]
fn catch_runtime(i: i64) -> i64 {
    enter(&CATCH_RUNTIME);
    let mut result = catch(|| index(&[1, 2], (i % 3) as usize)).unwrap_or(-1);
    result += catch(|| divide(i, i % 2)).unwrap_or(-2);
    result += catch(|| unwrap(if i % 5 == 0 { None } else { Some(i) })).unwrap_or(-3);
    leave(&CATCH_RUNTIME);
    result
}

#[inline(never)]
fn loops(n: i64) -> i64 {
    enter(&LOOPS);
    let mut total = 0;
    for i in 0..n {
        total += catch(|| raise(i)).unwrap_or(0);
    }
    leave(&LOOPS);
    total
}

#[inline(never)]
fn worker(id: i64, n: i64) -> i64 {
    enter(&WORKER);
    let mut total = 0;
    for i in 0..n {
        total += catches(id + i, (i % 3) as u32);
    }
    leave(&WORKER);
    total
}

// Panics out of its thread, whose joiner finds out.
#[inline(never)]
fn doomed(x: i64) -> i64 {
    enter(&DOOMED);
    let guard = Guard(x);
    let result = raise(x * 3) + guard.0;
    leave(&DOOMED);
    result
}

/// Stays open until another line arrives.
#[inline(never)]
fn held(number: i64, why: &str) -> i64 {
    enter(&HELD);
    say("held");
    let _ = read_line();
    leave(&HELD);
    number + why.len() as i64
}

fn run_calls(n: i64) -> i64 {
    let mut total = 0;
    let mut account = Account { owner: "ada".to_string(), cents: 0 };
    let shapes: Vec<Box<dyn Shape>> = vec![Box::new(Square(3)), Box::new(Circle { radius: 2 })];
    for i in 0..n {
        total += add(i, 1) + floats(1.5, i as f32) as i64 + sum(&[1, 2, i]) + big(Big { words: [i; 8] }, 2).words[7];
        total += text("text", &"more".to_string()) as i64 + own("own".to_string()).len() as i64;
        total += greet("bob").len() as i64 + total_area(&shapes) + account.deposit(i) + account.balance();
        total += largest(&[1, i, 3]).unwrap_or(0) + i64::from(largest(&[2u8, 9]).unwrap_or(0));
        total += apply(&|x| x * i, 2) + tail_first(i) + counts_c_abi(1, i);
    }
    for _ in 0..n / 10 + 1 {
        total += fib(10) as i64;
    }
    total
}

fn run_errors(n: i64) -> i64 {
    let mut failed = 0;
    for i in 0..n {
        failed += i64::from(half(i as i32).is_none()) + i64::from(lookup("book", i as i32).is_err());
        failed += i64::from(parse_both("12", if i % 2 == 0 { "x" } else { "3" }).is_err());
    }
    failed
}

fn run_panics(n: i64) -> i64 {
    let mut total = 0;
    for i in 0..n {
        total += catches(i, (i % 5) as u32) + catch_any(i as i32) + loops(i % 10) + catch_runtime(i);
    }
    total
}

fn run_nested(n: i64) -> i64 {
    (0..n).map(|i| catch_resumed(i) + catch_careful(i)).sum()
}

fn run_threads(n: i64) -> i64 {
    let workers: Vec<_> = (0..4).map(|id| thread::spawn(move || worker(id, n))).collect();
    let mut total: i64 = workers.into_iter().map(|w| w.join().unwrap_or(-1)).sum();
    for i in 0..n / 10 + 1 {
        total += thread::spawn(move || doomed(i)).join().unwrap_or(5);
    }
    total
}

static SCENARIOS: &[(&str, fn(i64) -> i64)] = &[
    ("calls", run_calls),
    ("errors", run_errors),
    ("panics", run_panics),
    ("nested", run_nested),
    ("threads", run_threads),
];

fn say(line: &str) {
    println!("{}", line);
    let _ = io::stdout().flush();
}

fn read_line() -> String {
    let mut line = String::new();
    let _ = io::stdin().lock().read_line(&mut line);
    line
}

fn report(check: i64) {
    let mut functions = Vec::new();
    for t in FUNCTIONS {
        let (calls, returns) = (t.calls.load(Relaxed), t.returns.load(Relaxed));
        if calls > 0 {
            functions.push(format!(
                "\"{}\":{{\"calls\":{},\"returns\":{},\"unwound\":{}}}",
                t.name, calls, returns, calls - returns
            ));
        }
    }
    let functions = functions.join(",");
    say(&format!("{{\"check\":{},\"functions\":{{{}}},\"children\":{{}},\"libraries\":{{}}}}", check, functions));
}

#[inline(never)]
fn crash_inner(kind: &str, code: i32) -> i32 {
    let _guard = Guard(1);
    match kind {
        "panic" => raise(3) as i32,
        "thread" => thread::spawn(|| doomed(1)).join().map_or(code + 4, |_| 0),
        "abort" => process::abort(),
        "exit" => process::exit(code + 2),
        "double" => {
            let _bomb = Bomb;
            raise(3) as i32
        }
        _ => {
            eprintln!("counts: no crash \"{}\"", kind);
            process::exit(2)
        }
    }
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        raise(6);
    }
}

#[inline(never)]
fn crash_outer(kind: &str) -> i32 {
    let _guard = Guard(2);
    crash_inner(kind, 1) + 1
}

fn main() {
    let mut n = 100;
    let mut crash = None;
    let mut wait = false;
    let mut chosen = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-wait" => wait = true,
            "-n" => n = args.next().and_then(|v| v.parse().ok()).unwrap_or(n),
            "-crash" => crash = args.next(),
            _ => chosen.push(arg),
        }
    }
    // The default hook names the thread by its number: this one says the same in every run.
    panic::set_hook(Box::new(|_| {}));
    if wait {
        say("ready");
        if read_line() != "go\n" {
            return;
        }
    }
    let mut check = 0;
    for (name, run) in SCENARIOS {
        if chosen.is_empty() || chosen.iter().any(|c| c == name) {
            check += run(n);
        }
    }
    for name in &chosen {
        if name == "open" {
            check += held(7, name);
        } else if !SCENARIOS.iter().any(|(known, _)| known == name) {
            eprintln!("counts: no scenario \"{}\"", name);
            process::exit(2);
        }
    }
    report(check + CLEANED.load(Relaxed));
    if let Some(kind) = crash {
        process::exit(crash_outer(&kind));
    }
}
