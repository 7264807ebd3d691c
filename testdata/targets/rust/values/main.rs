//! Calls each function once with known values: golden.json says which, and
//! ../../README.md how to start it.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, VecDeque};
use std::error::Error;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fmt;
use std::hint::black_box as opaque;
use std::io::{self, BufRead, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroI64, NonZeroU32};
use std::panic;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

static SINK: AtomicI64 = AtomicI64::new(0);

fn sink(x: i64) {
    SINK.fetch_add(x, Relaxed);
}

#[derive(Clone, Copy, PartialEq)]
enum Color {
    Red,
    Green = 5,
    Blue,
}

#[derive(Clone, Copy)]
struct Point {
    x: i32,
    y: i32,
}

struct Item {
    name: String,
    cents: i64,
    color: Color,
}

struct Meters(u32);

#[inline(never)]
fn nothing() {
    sink(0);
}

#[inline(never)]
fn signed(a: i8, b: i16, c: i32, d: i64, e: isize) -> i64 {
    i64::from(a) + i64::from(b) + i64::from(c) + d / 2 + e as i64
}

#[inline(never)]
fn unsigned(a: u8, b: u16, c: u32, d: u64, e: usize) -> u64 {
    u64::from(a) ^ u64::from(b) ^ u64::from(c) ^ d ^ e as u64
}

#[inline(never)]
fn boolean(yes: bool, no: bool) -> bool {
    yes && !no
}

#[inline(never)]
fn character(c: char) -> char {
    if c == 'ß' {
        'S'
    } else {
        c
    }
}

#[inline(never)]
fn floats(a: f32, b: f64, n: i32) -> f64 {
    f64::from(a) + b + f64::from(n)
}

#[inline(never)]
fn text(s: &str, empty: &str) -> usize {
    s.len() + empty.len()
}

#[inline(never)]
fn part(s: &str) -> &str {
    &s[2..]
}

#[inline(never)]
fn owned(s: &String, n: usize) -> String {
    s.repeat(n)
}

#[inline(never)]
fn moved(s: String) -> usize {
    s.capacity().min(s.len())
}

#[inline(never)]
fn enumeration(c: Color) -> Color {
    if c == Color::Green {
        Color::Blue
    } else {
        Color::Red
    }
}

#[inline(never)]
fn references(p: &Point, n: &mut i32, m: &Meters) -> i32 {
    *n += p.x + m.0 as i32;
    *n
}

#[inline(never)]
fn item(like: &Item) -> i64 {
    like.cents + like.name.len() as i64 + like.color as i64
}

#[inline(never)]
extern "C" fn c_point(p: Point, dx: i32) -> Point {
    Point { x: p.x + dx, y: p.y }
}

struct Account {
    owner: String,
    cents: i64,
}

impl Account {
    #[inline(never)]
    fn deposit(&mut self, cents: i64) -> i64 {
        self.cents += cents + self.owner.len() as i64;
        self.cents
    }
}

#[inline(never)]
fn generic<T: PartialOrd + Copy>(a: T, b: T) -> T {
    if a > b {
        a
    } else {
        b
    }
}

#[inline(never)]
fn refuse(why: &str) -> Result<i32, String> {
    if why.is_empty() {
        Ok(1)
    } else {
        Err(format!("refused: {}", why))
    }
}

#[derive(Debug)]
enum Refusal {
    Late,
    Short { item: String, left: u32 },
    Limits(i64, i64),
}

// A niche of the string tells the variants apart.
#[inline(never)]
fn order(item: &str, left: u32) -> Result<u64, Refusal> {
    match left {
        0 => Err(Refusal::Late),
        1 => Err(Refusal::Limits(-5, 5)),
        n if n < 10 => Err(Refusal::Short { item: item.to_string(), left: n }),
        n => Ok(u64::from(n)),
    }
}

#[inline(never)]
fn discount(code: Option<&str>, percent: Option<u32>) -> Option<u32> {
    code.and(percent)
}

#[inline(never)]
fn late(r: &Refusal) -> bool {
    matches!(r, Refusal::Late)
}

#[inline(never)]
fn short(r: &Refusal) -> u32 {
    match r {
        Refusal::Short { item, left } => left + item.len() as u32,
        _ => 0,
    }
}

#[inline(never)]
fn limits(r: &Refusal) -> i64 {
    match r {
        Refusal::Limits(low, high) => high - low,
        _ => 0,
    }
}

#[inline(never)]
fn sequences(words: &Vec<String>, points: &[Point], empty: &Vec<u8>, fixed: &[i16; 3], ring: &VecDeque<i32>) -> usize {
    words.len() + points.len() + empty.len() + fixed.len() + ring.len()
}

#[inline(never)]
fn counted(n: usize) -> Vec<u16> {
    vec![7; n]
}

#[inline(never)]
fn maps(by_name: &HashMap<String, i32>, by_id: &BTreeMap<i16, Point>, none: &HashMap<u8, u8>) -> usize {
    by_name.len() + by_id.len() + none.len()
}

#[inline(never)]
fn sets(hashed: &HashSet<String>, ordered: &BTreeSet<u64>) -> usize {
    hashed.len() + ordered.len()
}

#[inline(never)]
fn large(tree: &BTreeMap<u32, u32>) -> usize {
    tree.len()
}

#[inline(never)]
fn boxes(b: &Box<Item>, rc: &Rc<Point>, arc: &Arc<Mutex<Point>>) -> i64 {
    b.cents + i64::from(rc.x) + arc.lock().map_or(0, |p| i64::from(p.y))
}

#[inline(never)]
fn cells(c: &Cell<u8>, r: &RefCell<Point>, a: &AtomicI64) -> i64 {
    i64::from(c.get()) + i64::from(r.borrow().x) + a.load(Relaxed)
}

#[inline(never)]
fn tuples(pair: &(i32, String), one: &(u8,), wait: Duration) -> u64 {
    pair.0 as u64 + u64::from(one.0) + wait.as_millis() as u64
}

trait Shape {
    fn area(&self) -> i64;
}

struct Square {
    side: i64,
    name: String,
}

struct Dot;

#[repr(align(64))]
struct Wide(u8);

impl Shape for Square {
    fn area(&self) -> i64 {
        self.side * self.side + self.name.len() as i64
    }
}

impl Shape for Dot {
    fn area(&self) -> i64 {
        0
    }
}

impl Shape for Wide {
    fn area(&self) -> i64 {
        i64::from(self.0)
    }
}

impl Shape for Meters {
    fn area(&self) -> i64 {
        i64::from(self.0)
    }
}

#[inline(never)]
fn objects(borrowed: &dyn Shape, boxed: Box<dyn Shape>, changed: &mut dyn Shape, none: Option<&dyn Shape>) -> i64 {
    borrowed.area() + boxed.area() + changed.area() + none.map_or(0, Shape::area)
}

#[inline(never)]
fn shared(rc: &Rc<dyn Shape>, arc: &Arc<dyn Shape + Send + Sync>, wide: &Rc<dyn Shape>) -> i64 {
    rc.area() + arc.area() + wide.area()
}

#[inline(never)]
fn shapes(list: &[Box<dyn Shape>], kept: &Vec<Rc<dyn Shape>>) -> i64 {
    list.iter().map(|s| s.area()).sum::<i64>() + kept.iter().map(|s| s.area()).sum::<i64>()
}

#[derive(Debug)]
struct Shortage {
    item: String,
    left: u32,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} left", self.left, self.item)
    }
}

impl Error for Shortage {}

#[inline(never)]
fn reserve(item: &str, left: u32) -> Result<u64, Box<dyn Error>> {
    if left < 10 {
        return Err(Box::new(Shortage { item: item.to_string(), left }));
    }
    Ok(u64::from(left))
}

#[inline(never)]
fn parse(number: &str) -> Result<i32, Box<dyn Error + Send + Sync>> {
    Ok(number.parse::<i32>()?)
}

#[inline(never)]
fn said(what: &str) -> Result<(), Box<dyn Error>> {
    Err(format!("out of {}", what).into())
}

#[inline(never)]
fn read_file(path: &str) -> io::Result<usize> {
    std::fs::read(path).map(|bytes| bytes.len())
}

#[inline(never)]
fn read_exactly(from: &mut &[u8], into: &mut [u8; 4]) -> io::Result<()> {
    io::Read::read_exact(from, into)
}

#[inline(never)]
fn refuse_io(why: &str) -> io::Result<u8> {
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

#[inline(never)]
fn io_errors(os: &io::Error, kind: &io::Error, custom: &io::Error) -> bool {
    os.kind() == kind.kind() && custom.raw_os_error().is_some()
}

#[inline(never)]
fn paths(os: &OsString, os_ref: &OsStr, buf: &PathBuf, path: &Path) -> usize {
    os.len() + os_ref.len() + buf.as_os_str().len() + path.as_os_str().len()
}

#[inline(never)]
fn texts(borrowed: &Cow<str>, owned: &Cow<str>, c: &CString, c_ref: &CStr, boxed: &Box<str>, shared: &Arc<str>) -> usize {
    borrowed.len() + owned.len() + c.as_bytes().len() + c_ref.to_bytes().len() + boxed.len() + shared.len()
}

#[inline(never)]
fn addresses(v4: &Ipv4Addr, v6: &Ipv6Addr, any: &IpAddr, socket: &SocketAddr, socket6: &SocketAddr) -> u16 {
    u16::from(v4.is_loopback()) + u16::from(v6.is_loopback()) + u16::from(any.is_ipv4()) + socket.port() + socket6.port()
}

#[inline(never)]
fn times(at: &SystemTime, early: &SystemTime, since_boot: &Instant) -> bool {
    at > early && since_boot.elapsed().as_nanos() > 0
}

#[inline(never)]
fn numbers(a: u128, b: i128, one: NonZeroU32, big: &NonZeroI64, none: Option<NonZeroU32>) -> u128 {
    a.wrapping_add(b.unsigned_abs()) + u128::from(one.get()) + u128::from(big.get() < 0) + u128::from(none.is_some())
}

#[inline(never)]
fn holders(fixed: &Pin<Box<Point>>, weak: &Weak<Point>, gone: &Weak<Point>, never: &Weak<Point>, lock: &RwLock<Point>) -> i32 {
    fixed.x + weak.strong_count() as i32 + gone.strong_count() as i32 + never.strong_count() as i32 + lock.read().map_or(0, |p| p.y)
}

#[inline(never)]
fn once(cell: &OnceCell<i32>, empty: &OnceCell<i32>, lock: &OnceLock<String>, unset: &OnceLock<String>) -> usize {
    usize::from(cell.get().is_some()) + usize::from(empty.get().is_some()) + lock.get().map_or(0, |s| s.len()) + usize::from(unset.get().is_some())
}

#[inline(never)]
fn heap(numbers: &BinaryHeap<i32>) -> usize {
    numbers.len()
}

type Row = [i16; 2];

#[inline(never)]
fn nested(rows: &[&[i32]], grid: &[Row; 2], words: &[&str; 2], bytes: &[u8; 4], shared: &Arc<[i32]>) -> usize {
    shared.len() + rows.len() + grid.len() + words[0].len() + bytes[0] as usize
}

#[inline(never)]
fn double(x: i32) -> i32 {
    2 * x
}

#[inline(never)]
fn call(f: fn(i32) -> i32, x: i32) -> i32 {
    f(x)
}

#[inline(never)]
fn apply<F>(f: &F, x: i32) -> i32
where
    F: Fn(i32) -> i32,
{
    f(x)
}

struct Unit;
struct Corner(Point);
struct Pair(i32, Color);

#[inline(never)]
fn structs(unit: &Unit, corner: &Corner, pair: &Pair, nothing: ()) -> i32 {
    corner.0.x + pair.0 + std::mem::size_of_val(unit) as i32 + std::mem::size_of_val(&nothing) as i32
}

#[inline(never)]
fn panics(why: &str) -> i32 {
    panic!("on purpose: {}", why)
}

#[inline(never)]
fn passes(why: &str) -> i32 {
    panics(why) + 1
}

// What it panics with is no text to those that don't know its type.
#[inline(never)]
fn resumes(why: &'static str) -> i32 {
    panic::resume_unwind(Box::new(why))
}

// The arguments are opaque, so that no call is worked out by the compiler.
fn call_values() {
    nothing();
    sink(signed(opaque(-128), opaque(-32768), opaque(-2147483648), opaque(-9223372036854775808), opaque(42)));
    let big = unsigned(opaque(255), opaque(65535), opaque(4294967295), opaque(18446744073709551615), opaque(4096));
    sink(big as i64 / 2);
    sink(i64::from(boolean(opaque(true), opaque(false))));
    sink(character(opaque('ß')) as i64);
    sink(floats(opaque(1.5), opaque(-2.25), opaque(7)) as i64);
    sink(text(opaque("grüße"), opaque("")) as i64);
    sink(part(opaque("a part")).len() as i64);
    sink(owned(&opaque("ab".to_string()), opaque(3)).len() as i64);
    sink(moved(opaque("moved".to_string())) as i64);
    sink(enumeration(opaque(Color::Green)) as i64);
    let mut n = 4;
    sink(i64::from(references(&opaque(Point { x: 3, y: 9 }), opaque(&mut n), &opaque(Meters(100)))));
    sink(item(&opaque(Item { name: "lamp".to_string(), cents: 4950, color: Color::Blue })));
    sink(i64::from(c_point(opaque(Point { x: 1, y: -2 }), opaque(10)).x));
    sink(i64::from(generic(opaque(3u8), opaque(9))));
    sink(order(opaque("lamp"), opaque(7)).map_or(1, |n| n as i64));
    sink(discount(opaque(Some("XMAS")), opaque(None)).map_or(0, i64::from));
    sink(i64::from(late(&opaque(Refusal::Late))));
    sink(i64::from(short(&opaque(Refusal::Short { item: "lamp".to_string(), left: 2 }))));
    sink(limits(&opaque(Refusal::Limits(-5, 5))));
    let words = vec!["a".to_string(), String::new(), "ccc".to_string()];
    let mut ring = VecDeque::from([2, 3, 4]);
    ring.rotate_left(1);
    ring.push_front(1);
    sink(sequences(&opaque(words), &opaque([Point { x: 1, y: 2 }, Point { x: 3, y: 4 }]), &opaque(vec![]), &opaque([1, -2, 3]), &opaque(ring)) as i64);
    sink(counted(opaque(3)).len() as i64);
    let by_name = HashMap::from([("one".to_string(), 1), ("two".to_string(), 2)]);
    sink(maps(&opaque(by_name), &opaque(BTreeMap::from([(-7, Point { x: 1, y: 2 })])), &opaque(HashMap::new())) as i64);
    sink(sets(&opaque(HashSet::from(["only".to_string()])), &opaque(BTreeSet::from([3, 1, 2]))) as i64);
    sink(large(&opaque((0..30).map(|i| (i, i * i)).collect())) as i64);
    let lamp = Item { name: "lamp".to_string(), cents: 4950, color: Color::Blue };
    sink(boxes(&opaque(Box::new(lamp)), &opaque(Rc::new(Point { x: 1, y: 2 })), &opaque(Arc::new(Mutex::new(Point { x: 3, y: 4 })))));
    sink(cells(&opaque(Cell::new(9)), &opaque(RefCell::new(Point { x: 5, y: 6 })), &opaque(AtomicI64::new(-3))));
    sink(tuples(&opaque((1, "two".to_string())), &opaque((3,)), opaque(Duration::from_millis(1500))) as i64);
    let square = |side| Square { side, name: "sq".to_string() };
    let (mut meters, none) = (Meters(7), None);
    sink(objects(opaque(&square(3)), opaque(Box::new(Dot)), opaque(&mut meters), opaque(none)));
    let (rc, arc, wide): (Rc<dyn Shape>, Arc<dyn Shape + Send + Sync>, Rc<dyn Shape>) = (Rc::new(square(4)), Arc::new(Meters(8)), Rc::new(Wide(9)));
    sink(shared(&opaque(rc), &opaque(arc), &opaque(wide)));
    sink(shapes(&opaque([Box::new(square(5)) as Box<dyn Shape>, Box::new(Dot)]), &opaque(vec![Rc::new(square(6))])));
    sink(reserve(opaque("lamp"), opaque(7)).map_or(1, |n| n as i64));
    sink(parse(opaque("12x")).map_or(1, i64::from));
    sink(said(opaque("lamps")).map_or(1, |()| 0));
}

fn call_library_values() {
    sink(read_file(opaque("/no/such/file")).map_or(1, |n| n as i64));
    sink(read_exactly(opaque(&mut &[1u8, 2][..]), opaque(&mut [0; 4])).map_or(1, |()| 0));
    sink(refuse_io(opaque("not yours")).map_or(1, i64::from));
    sink(i64::from(io_errors(
        &opaque(io::Error::from_raw_os_error(13)),
        &opaque(io::Error::from(io::ErrorKind::TimedOut)),
        &opaque(io::Error::new(io::ErrorKind::Other, "on fire")),
    )));
    let path = PathBuf::from("/etc/shop");
    sink(paths(&opaque(OsString::from("os")), opaque(OsStr::new("part")), &opaque(path), opaque(Path::new("a/b"))) as i64);
    let c = CString::new("c text").unwrap_or_default();
    sink(texts(&opaque(Cow::from("lent")), &opaque(Cow::from("own".to_string())), &opaque(c.clone()), opaque(c.as_c_str()), &opaque("boxed".into()), &opaque("shared".into())) as i64);
    sink(i64::from(addresses(
        &opaque(Ipv4Addr::new(192, 0, 2, 7)),
        &opaque(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        &opaque(IpAddr::from([198, 51, 100, 9])),
        &opaque(SocketAddr::from(([127, 0, 0, 1], 8080))),
        &opaque(SocketAddr::from((Ipv6Addr::LOCALHOST, 443))),
    )));
    let at = UNIX_EPOCH + Duration::new(1709209845, 123456789);
    sink(i64::from(times(&opaque(at), &opaque(UNIX_EPOCH - Duration::from_millis(1)), &opaque(Instant::now()))));
    let one = NonZeroU32::MIN;
    sink(numbers(opaque((1 << 100) + 7), opaque(-(1 << 100) - 7), opaque(one), &opaque(NonZeroI64::MIN), opaque(None)) as i64);
    let (kept, dropped) = (Rc::new(Point { x: 1, y: 2 }), Rc::new(Point { x: 7, y: 8 }));
    let gone = Rc::downgrade(&dropped);
    drop(dropped);
    let pin = Box::pin(Point { x: 5, y: 6 });
    sink(i64::from(holders(&opaque(pin), &opaque(Rc::downgrade(&kept)), &opaque(gone), &opaque(Weak::new()), &opaque(RwLock::new(Point { x: 3, y: 4 })))));
    sink(once(&opaque(OnceCell::from(7)), &opaque(OnceCell::new()), &opaque(OnceLock::from("set".to_string())), &opaque(OnceLock::new())) as i64);
    sink(heap(&opaque(BinaryHeap::from([8, 9]))) as i64);
    sink(nested(opaque(&[&[1, 2], &[], &[3]]), &opaque([[1, 2], [3, 4]]), &opaque(["a", "bb"]), &opaque([0, 1, 2, 255]), &opaque(Arc::from([1, 2]))) as i64);
    sink(i64::from(call(opaque(double), opaque(21))));
    let (base, name) = (opaque(10), opaque("adder".to_string()));
    sink(i64::from(apply(&opaque(move |x| x + base + name.len() as i32), opaque(4))));
    sink(i64::from(structs(&opaque(Unit), &opaque(Corner(Point { x: 1, y: 2 })), &opaque(Pair(3, Color::Red)), opaque(()))));
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
    panic::set_hook(Box::new(|_| {}));
    call_values();
    call_library_values();
    let mut account = Account { owner: "ada".to_string(), cents: 100 };
    sink(opaque(&mut account).deposit(opaque(25)));
    sink(refuse(opaque("too late")).map_or(1, i64::from));
    let _ = panic::catch_unwind(|| passes(opaque("here")));
    let _ = panic::catch_unwind(|| resumes(opaque("here")));
    println!("done");
}
