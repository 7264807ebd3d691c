//! The Rust program that is broken: enums, slices, generics.
#![no_std]
#![no_main]

pub enum Shape {
    Dot,
    Square { side: u32 },
    Name(&'static str),
}

#[inline(never)]
pub fn area<T: Copy + Into<u64>>(shape: &Shape, by: T, list: &[u16]) -> Result<u64, u8> {
    match shape {
        Shape::Dot => Err(7),
        Shape::Square { side } => Ok(*side as u64 * by.into() + list.len() as u64),
        Shape::Name(n) => Ok(n.len() as u64),
    }
}

#[no_mangle]
pub extern "C" fn _start() -> ! {
    let list = [1u16, 2, 3];
    let r = area(&Shape::Square { side: 4 }, 3u32, &list);
    let s = area(&Shape::Name("none"), 1u32, &list[..1]);
    let t = area(&Shape::Dot, 1u32, &list);
    loop {
        core::hint::black_box((&r, &s, &t));
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
