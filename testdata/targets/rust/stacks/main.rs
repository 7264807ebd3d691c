// Fails in known places and prints its stack there: see ../../README.md.
use std::backtrace::Backtrace;
use std::hint::black_box;
use std::io::BufRead;

#[derive(Debug)]
pub enum Failure {
    Missing(String),
    Other(u64),
}

// Prints the stack of its caller, as the one of the function of that name.
#[inline(never)]
fn say(name: &str) {
    for line in Backtrace::force_capture().to_string().lines() {
        println!("at {} {}", name, line);
    }
}

#[inline(never)]
fn fails(x: i64) -> Result<i64, Failure> {
    if x > 100 {
        return Ok(x);
    }
    say("stacks::fails");
    Err(Failure::Missing(format!("number {}", x)))
}

#[inline(always)]
fn between(x: i64) -> Result<i64, Failure> {
    let y = fails(x + 1)?;
    Ok(black_box(y) + 1)
}

#[inline(never)]
fn propagates(x: i64) -> Result<i64, Failure> {
    let y = between(x);
    say("stacks::propagates");
    let y = y?;
    Ok(y)
}

#[inline(never)]
fn small(x: u64) -> Result<u32, u8> {
    if x > 100 {
        return Ok(x as u32);
    }
    say("stacks::small");
    Err(x as u8)
}

#[inline(never)]
#[rustfmt::skip]
fn panics(x: i64) -> i64 {
    if x > 100 { return x; }
    say("stacks::panics"); panic!("number {}", x)
}

#[inline(always)]
fn around(x: i64) -> i64 {
    panics(x * 2) + 1
}

#[inline(never)]
fn passes(x: i64) -> i64 {
    let held = vec![x; 10];
    let y = around(x);
    y + black_box(held).len() as i64
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args.iter().any(|a| a == "-wait") {
        println!("ready");
        std::io::stdin().lock().lines().next();
    }
    std::panic::set_hook(Box::new(|_| ()));
    let _ = black_box(propagates(black_box(1)));
    let _ = black_box(small(black_box(2)));
    let _ = std::panic::catch_unwind(|| black_box(passes(black_box(3))));
    if args.iter().any(|a| a == "-crash") {
        let _ = black_box(passes(black_box(4)));
    }
}
