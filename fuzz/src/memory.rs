//! How much an input may make a reader allocate. libFuzzer's own limit needs a sanitizer's hooks, which a stable compiler does
//! not have, and a limit on the whole process would hide what one input takes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Most bytes that one input may hold at once.
pub const MOST: usize = 256 << 20;

thread_local! {
    /// Bytes held since the input began, and whether one has begun.
    static HELD: Cell<(isize, bool)> = const { Cell::new((0, false)) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(more: isize) {
    // A thread that is ending counts nothing any more.
    let _ = HELD.try_with(|held| {
        let (now, counts) = held.get();
        held.set((now + more, counts));
        if counts && now + more > MOST as isize {
            held.set((0, false));
            // The program must not go on: what it would allocate may not exist.
            panic_now(now + more);
        }
    });
}

#[cold]
fn panic_now(bytes: isize) -> ! {
    let text = format!("an input made its reader hold {bytes} bytes, expected at most {MOST}\n");
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
    std::process::abort()
}

// SAFETY: all is the system's allocator's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: the caller's promise is the same.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// Runs `work`, which ends the process if it holds more than [`MOST`].
pub fn bounded(work: impl FnOnce()) {
    HELD.set((0, true));
    work();
    HELD.set((0, false));
}
