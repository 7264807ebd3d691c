// Functions whose arguments and results lie in every kind of place.
use std::fmt::Display;
use std::hint::black_box;

#[derive(Clone, Copy)] pub struct Pair { a: i32, b: i32 }
#[derive(Clone, Copy)] pub struct Three { a: i32, b: i32, c: i32 }
#[derive(Clone, Copy)] pub struct Four { a: i32, b: i32, c: i32, d: u32 }
#[derive(Clone, Copy)] pub struct Long { a: u64, b: u64, c: u64 }
#[derive(Clone, Copy)] pub struct Mixed { a: f64, b: u32 }
#[derive(Clone, Copy)] pub struct Doubles { a: f64, b: f64 }
#[derive(Clone, Copy)] pub struct Nested { p: Pair, q: u64 }
#[derive(Clone, Copy)] pub struct Words { a: [u32; 2] }
#[derive(Clone, Copy)] pub struct Bytes { a: [u8; 16] }
#[derive(Clone, Copy)] pub struct Floats { a: f32, b: f32, c: f32 }
#[derive(Clone, Copy)] pub struct FloatPair { a: [f32; 2] }
#[derive(Clone, Copy)] pub struct Wrapped(u64);
#[derive(Clone, Copy)] pub struct Odd { a: u8, b: u16, c: u8 }
pub enum Choice { A(u32), B(u64), C }
pub enum Unit { X, Y, Z }

#[inline(never)]
pub fn strings(a: &str, b: String, c: &[u32], d: Vec<u64>, e: &String, f: &mut Vec<Pair>) -> usize {
    black_box(a).len() + black_box(b).len() + black_box(c).len() + black_box(d).len() + black_box(e).len() + black_box(f).len()
}
#[inline(never)]
pub fn structs(a: Pair, b: Three, c: Four, d: Long, e: Mixed, f: Doubles) -> u64 {
    black_box((a, b, c, e, f));
    black_box(d).a
}
#[inline(never)]
pub fn aggregates(a: Nested, b: Words, c: Bytes, d: Floats, e: FloatPair, f: u8, g: [u8; 3], h: Wrapped, i: Odd) -> Nested {
    black_box((b, c, d, e, f, g, h, i));
    black_box(a)
}
#[inline(never)]
pub fn enums(a: Option<u32>, b: Option<&u64>, c: Choice, d: Unit, e: Option<Box<u8>>, f: bool, g: char, h: Option<&str>) -> Option<u32> {
    black_box((&b, &c, &d, &e, f, g, h));
    black_box(a)
}
#[inline(never)] pub fn three(a: u32) -> Three { Three { a: black_box(a as i32), b: black_box(1), c: black_box(2) } }
#[inline(never)] pub fn four(a: u32) -> Four { Four { a: black_box(a as i32), b: black_box(1), c: black_box(2), d: black_box(4) } }
#[inline(never)] pub fn mixed(a: u32) -> Mixed { Mixed { a: black_box(a as f64), b: black_box(1) } }
#[inline(never)] pub fn floats(a: u32) -> Floats { Floats { a: black_box(a as f32), b: black_box(1.0), c: black_box(2.0) } }
#[inline(never)] pub fn long(a: u32) -> Long { Long { a: black_box(a as u64), b: black_box(1), c: black_box(2) } }
#[inline(never)] pub fn tail(a: &str) -> &str { &black_box(a)[1..] }
#[inline(never)] pub fn owned(a: &str) -> String { let mut s = String::from(black_box(a)); s.push('!'); s }
#[inline(never)] pub fn numbers(a: u32) -> Vec<u16> { vec![black_box(a) as u16, 2] }
#[inline(never)]
pub fn many(a: u64, b: &str, c: u128, d: &str, e: Four, f: &[u8], g: u16) -> u128 {
    black_box((a, b, d, e, f, g));
    black_box(c)
}
#[inline(never)]
pub fn dynamic(a: &u32, b: Box<dyn Display>, c: fn(u32) -> u32, d: (), e: (u8, u64)) -> u32 {
    black_box((a, d, &b, e));
    black_box(c(black_box(1)))
}
#[inline(never)]
pub extern "C" fn exported(a: Three, b: Mixed, c: Doubles, d: Long) -> Mixed {
    black_box((a, c, d));
    black_box(b)
}
#[inline(never)]
pub fn wide(a: u64, b: u64, c: u64, d: u64, e: u64, f: u128, g: u64) -> (u64, u32) {
    black_box((a, b, c, d, e, f));
    black_box((g, 9))
}
#[inline(never)]
pub fn pair(a: f64, b: u8, c: Option<String>, d: Result<u32, u32>) -> (f64, u64) {
    black_box((b, &c, d));
    black_box((a, 3))
}
#[inline(never)]
pub fn array(a: u8) -> [u8; 5] { black_box([a, 2, 3, 4, 5]) }
#[inline(never)]
pub fn odd(a: Odd, b: (u32, u8), c: i128) -> Odd { black_box((b, c)); black_box(a) }

fn double(a: u32) -> u32 { black_box(a) * 2 }

struct Counter { n: u32, name: String }
impl Counter {
    #[inline(never)]
    fn add(&mut self, k: u32) -> u32 { self.n += black_box(k); black_box(&self.name); self.n }
    #[inline(never)]
    fn consume(self) -> u32 { black_box(self).n }
}

fn main() {
    let name = black_box("a program".to_string());
    let n = black_box(1u8);
    let i = n as i32;
    strings(&name, "owned".to_string(), black_box(&[1, 2]), vec![3 + n as u64], &name, &mut vec![Pair { a: i, b: 2 }]);
    structs(Pair { a: i, b: 2 }, Three { a: 2 + i, b: 4, c: 5 }, Four { a: 5 + i, b: 7, c: 8, d: 9 }, Long { a: 9 + n as u64, b: 11, c: 12 },
        Mixed { a: 13.0, b: 13 + n as u32 }, Doubles { a: 15.0, b: 16.0 });
    aggregates(Nested { p: Pair { a: i, b: 2 }, q: 3 }, Words { a: [4, 4 + n as u32] }, Bytes { a: [5 + n; 16] }, Floats { a: 7.0, b: 8.0, c: 9.0 },
        FloatPair { a: [10.0, 11.0] }, 11 + n, [12 + n, 14, 15], Wrapped(15 + n as u64), Odd { a: 16 + n, b: 18, c: 19 });
    enums(black_box(Some(1)), black_box(Some(&2)), black_box(Choice::B(3)), black_box(Unit::Z), black_box(Some(Box::new(4))), black_box(true),
        black_box('x'), black_box(Some("some")));
    black_box((Choice::A(1), Choice::C, Unit::X, Unit::Y));
    black_box(three(n as u32));
    black_box(four(n as u32));
    black_box(mixed(n as u32));
    black_box(floats(n as u32));
    black_box(long(n as u32));
    black_box(tail(&name));
    black_box(owned(&name));
    black_box(numbers(n as u32));
    many(n as u64, black_box("two"), 2 + n as u128, black_box("four"), Four { a: 4 + i, b: 6, c: 7, d: 8 }, black_box(&[9, 10]), 10 + n as u16);
    dynamic(black_box(&1), black_box(Box::new(2)), black_box(double), (), (2 + n, 4));
    exported(Three { a: i, b: 2, c: 3 }, Mixed { a: 4.0, b: 4 + n as u32 }, Doubles { a: 6.0, b: 7.0 }, Long { a: 7 + n as u64, b: 9, c: 10 });
    wide(n as u64, 2, 3, 4, 4 + n as u64, 5 + n as u128, 7);
    pair(1.0, n, Some("held".to_string()), black_box(Ok(2)));
    array(n);
    odd(Odd { a: n, b: 2, c: 3 }, (3 + n as u32, 5), -5 - n as i128);
    let mut c = Counter { n: n as u32, name };
    c.add(1 + n as u32);
    c.consume();
}
