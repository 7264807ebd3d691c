// Code with what Rust does to control flow: unwinding, trait objects, matches.
use std::collections::HashMap;
use std::fmt::Write;

trait Shape {
    fn area(&self, k: i64) -> i64;
}
struct Square(i64);
struct Circle;
impl Shape for Square {
    fn area(&self, k: i64) -> i64 {
        self.0 * self.0 * k
    }
}
impl Shape for Circle {
    fn area(&self, k: i64) -> i64 {
        if k < 0 {
            panic!("negative");
        }
        3 * k
    }
}

#[inline(never)]
fn dynamic(s: &dyn Shape, k: i64) -> i64 {
    s.area(k + 1)
}

#[inline(never)]
fn dispatch(op: u8, a: i64, b: i64) -> Result<i64, String> {
    Ok(match op {
        0 => a + b,
        1 => a - b,
        2 => a.wrapping_mul(b),
        3 if b != 0 => a / b,
        4 => a << (b & 31),
        5 => a ^ b,
        6 => !a,
        7 => a | b,
        _ => return Err(format!("no operation {op}")),
    })
}

fn main() {
    let mut seen: HashMap<String, i64> = HashMap::new();
    for i in 0..20i64 {
        let shapes: Vec<Box<dyn Shape>> = vec![Box::new(Square(i)), Box::new(Circle)];
        let total: i64 = shapes.iter().map(|s| dynamic(s.as_ref(), i)).sum();
        let mut key = String::new();
        write!(key, "{}", i % 5).unwrap();
        *seen.entry(key).or_insert(0) += total + dispatch((i % 9) as u8, i, 3).unwrap_or(0);
    }
    let caught = std::panic::catch_unwind(|| dynamic(&Circle, -5)).is_err();
    println!("{} {}", seen.values().sum::<i64>(), caught);
}
