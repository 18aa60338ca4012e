//! Thrift's compact protocol, walked as the parquet crate reads it.
//!
//! Where the crate passes over a field it believes how long a list is, takes true and false in it for no bytes, and in a page's header
//! does not see that the bytes have ended: a few bytes would keep it busy for hours. Fields that it knows it reads whatever
//! type they are said to be of; they are held against [`STRUCTS`], which is what version 60.1 of the crate knows.

use std::io::{Error, Read, Result};
use std::sync::atomic::{AtomicU64, Ordering};

/// Most levels of what lies in each other.
const LEVELS: usize = 64;
/// Most bytes of a value of fixed size: a null takes as many.
const WIDEST: i32 = 256;
/// What a file ends with.
pub(super) const FOOTER: &str = "F";
/// What a page begins with.
pub(super) const PAGE: &str = "H";

/// Structs and the types of their fields 1, 2, …: `v` a whole number, `y` a byte, `d` a double, `b` bytes, `t` true or false, `[` a list,
/// a capital a struct, `-` what the crate passes over. Whole numbers besides: `n` counts what must be there, `u` is bytes when
/// unpacked, `w` the size of a value, `e` an encoding.
const STRUCTS: &[(&str, &str)] = &[
    // A file, an element of its schema, that element's logical type.
    ("F", "v [S v [R [K b [O"),
    ("S", "v w v b n v v v v L"),
    ("L", "E E E E D E T T - I E E E E E V B G E"),
    ("D", "v v"),
    ("T", "t U"),
    ("U", "E E E"),
    ("I", "y t"),
    ("V", "y"),
    ("B", "b"),
    ("G", "b v"),
    // A row group, a column chunk and what is said of it.
    ("R", "[C v v [N v - v"),
    ("N", "v t t"),
    ("C", "b v M v v v v"),
    ("M", "v [v - v v v v - v v v Q [P v v Z W"),
    ("Q", "b b v v b b t t v"),
    ("P", "v v v"),
    ("Z", "v [v [v"),
    ("W", "X [v"),
    ("X", "d d d d d d d d"),
    ("K", "b b"),
    ("O", "E E E"),
    // A page's header: of data, of a dictionary, of data in the second form.
    ("H", "v u v v A E Y J"),
    ("A", "n e v v -"),
    ("Y", "n v t"),
    ("J", "n v v e v v t -"),
];

/// What may still be counted and unpacked.
pub(super) struct Left {
    counted: AtomicU64,
    unpacked: AtomicU64,
}

impl Left {
    pub(super) fn new(counted: u64, unpacked: u64) -> Self {
        Self { counted: counted.into(), unpacked: unpacked.into() }
    }
}

fn take(from: &AtomicU64, number: i32, what: &str) -> Result<()> {
    // A negative one the crate refuses.
    let number = u64::try_from(number).unwrap_or(0);
    let taken = from.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(number));
    taken
        .map(drop)
        .map_err(|left| Error::other(format!("found {number} more {what}, expected at most {left}")))
}

/// Walks one struct of [`STRUCTS`]; gives the bytes that it is made of.
pub(super) fn walk(from: impl Read, name: &str, left: &Left) -> Result<Vec<u8>> {
    let mut walk = Walk { from, seen: Vec::new(), left, open: Vec::new(), children: 0 };
    walk.structure(name, LEVELS)?;
    Ok(walk.seen)
}

struct Walk<'a, R> {
    from: R,
    seen: Vec<u8>,
    left: &'a Left,
    /// How many children each column around this one still has.
    open: Vec<i32>,
    /// What the last `n` said.
    children: i32,
}

impl<R: Read> Walk<'_, R> {
    fn bytes(&mut self, number: u64) -> Result<()> {
        match (&mut self.from).take(number).read_to_end(&mut self.seen)? as u64 {
            found if found < number => {
                Err(Error::other(format!("found {found} bytes and the end, expected {number}")))
            }
            _ => Ok(()),
        }
    }

    fn byte(&mut self) -> Result<u8> {
        self.bytes(1)?;
        Ok(self.seen[self.seen.len() - 1])
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Error::other("found a number of more than 10 bytes, expected fewer"))
    }

    fn zigzag(&mut self) -> Result<i64> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn structure(&mut self, name: &str, levels: usize) -> Result<()> {
        let fields = STRUCTS.iter().find(|(of, _)| *of == name).map_or("", |(_, fields)| fields);
        let mut last = 0i64;
        if name == "S" {
            self.children = 0;
        }
        loop {
            let head = self.byte()?;
            let (delta, kind) = (head >> 4, head & 15);
            if kind == 0 {
                break;
            }
            last = if delta == 0 { i64::from(self.zigzag()? as i16) } else { last + i64::from(delta) };
            let place = usize::try_from(last - 1).ok();
            let expected = place.and_then(|place| fields.split(' ').nth(place)).filter(|f| !f.is_empty());
            let expected = expected.unwrap_or("-");
            if !fits(kind, expected) {
                let text = format!("found type {kind} in field {last} of {name}, expected {expected:?}");
                return Err(Error::other(text));
            }
            self.value(kind, expected, levels)?;
        }
        if name == "S" { self.nested() } else { Ok(()) }
    }

    /// An element of the schema has ended: the crate builds columns as deep as they are nested.
    fn nested(&mut self) -> Result<()> {
        while self.open.last() == Some(&0) {
            self.open.pop();
        }
        if let Some(left) = self.open.last_mut() {
            *left -= 1;
        }
        if self.children > 0 {
            self.open.push(self.children);
        }
        match self.open.len() {
            0..=LEVELS => Ok(()),
            found => Err(Error::other(format!("found {found}, expected at most {LEVELS} levels of columns"))),
        }
    }

    fn value(&mut self, kind: u8, expected: &str, levels: usize) -> Result<()> {
        let Some(levels) = levels.checked_sub(1) else {
            return Err(Error::other(format!("found more, expected at most {LEVELS} levels")));
        };
        match kind {
            1 | 2 => Ok(()),
            3 => self.bytes(1),
            4..=6 => self.whole(expected),
            7 => self.bytes(8),
            8 => self.varint().and_then(|number| self.bytes(number)),
            9 | 10 => {
                let head = self.byte()?;
                let size = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
                let of = expected.strip_prefix('[').unwrap_or("-");
                self.elements(size, &[(head & 15, of)], levels)
            }
            11 => match self.varint()? {
                0 => Ok(()),
                size => {
                    let kinds = self.byte()?;
                    self.elements(size, &[(kinds >> 4, "-"), (kinds & 15, "-")], levels)
                }
            },
            12 => self.structure(expected, levels),
            13 => self.bytes(16),
            _ => Err(Error::other(format!("found type {kind}, expected one of 1 to 13"))),
        }
    }

    /// Each takes a byte at least, so they are as many as there are bytes.
    fn elements(&mut self, size: u64, kinds: &[(u8, &str)], levels: usize) -> Result<()> {
        if size > 0 && kinds.iter().all(|(kind, _)| matches!(kind, 1 | 2)) {
            let text = format!(
                "found a list or map of {size} times true or false, expected none: its reader takes them wrongly"
            );
            return Err(Error::other(text));
        }
        for _ in 0..size {
            for (kind, expected) in kinds {
                if !fits(*kind, expected) {
                    return Err(Error::other(format!("found type {kind} in a list, expected {expected:?}")));
                }
                self.value(*kind, expected, levels)?;
            }
        }
        Ok(())
    }

    fn whole(&mut self, expected: &str) -> Result<()> {
        // The crate, too, drops what is above 32 bits.
        let number = self.zigzag()? as i32;
        match expected {
            "n" => {
                self.children = number;
                take(&self.left.counted, number, "values")
            }
            "u" => take(&self.left.unpacked, number, "bytes"),
            "w" if number > WIDEST => {
                Err(Error::other(format!("found values of {number} bytes, expected at most {WIDEST}")))
            }
            // How many values there are stands in the page, which may be compressed; the crate makes room for as many at once, and where
            // there is none the process ends.
            "e" if matches!(number, 6 | 7) => Err(Error::other(format!(
                "found text in a delta encoding ({number}), expected plain or dictionary-encoded text: write it anew with one of these"
            ))),
            _ => Ok(()),
        }
    }
}

fn fits(kind: u8, expected: &str) -> bool {
    match expected {
        "-" => true,
        "t" => matches!(kind, 1 | 2),
        "y" => kind == 3,
        "v" | "n" | "u" | "w" | "e" => matches!(kind, 4..=6),
        "d" => kind == 7,
        "b" => kind == 8,
        list if list.starts_with('[') => matches!(kind, 9 | 10),
        _ => kind == 12,
    }
}
