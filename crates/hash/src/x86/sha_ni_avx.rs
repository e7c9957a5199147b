//! Hashes four messages in turns in the SHA unit of an x86-64 CPU, with registers allocated by hand.
//!
//! The unit starts an instruction every cycle or two, and each takes four or more cycles, so only four interleaved
//! messages keep it busy. Their states fill eight of the sixteen registers that its instructions can name, and the
//! words of the schedules would need sixteen more. A compiler's allocation moves states to memory and back, which is
//! the slowest choice: every round waits for the one before. Here the states stay in registers, with the newest words
//! of each schedule; the older words, for which no instruction waits, are in memory. The AVX forms of the other
//! instructions save the copies that those with two operands need.
#![allow(unsafe_code)]

use std::arch::asm;

use super::CONSTANTS;
use crate::constants::{H256, padding};

/// For each message the words A, B, E, F and C, D, G, H, from the last to the first, as the instructions want them.
#[repr(C, align(16))]
struct States([[u32; 8]; 4]);

/// Sixteen words of each message's schedule.
#[repr(C, align(16))]
struct ScheduleWords([[u32; 16]; 4]);

/// Four rounds of one message, whose words with their constants are in xmm0.
macro_rules! rounds {
    ($abef:literal $cdgh:literal) => {
        concat!(
            "sha256rnds2 ",
            $cdgh,
            ", ",
            $abef,
            "\n",
            "vpshufd xmm0, xmm0, 14\n",
            "sha256rnds2 ",
            $abef,
            ", ",
            $cdgh,
            "\n",
        )
    };
}

/// The registers that hold four words of a message's schedule.
macro_rules! words {
    ($lane:literal $group:literal $ahead:literal) => {
        concat!("xmmword ptr [{words} + 64*", $lane, " + 16*((", $group, " + ", $ahead, ") mod 4)]")
    };
}

/// One of the first four groups of rounds: its words are those of the message.
macro_rules! given {
    ($group:literal $lane:literal $abef:literal $cdgh:literal $newest:literal $message:literal) => {
        concat!(
            "vmovdqu ", $newest, ", xmmword ptr [{", $message, "} + 16*", $group, "]\n",
            "vpshufb ", $newest, ", ", $newest, ", xmmword ptr [{constants} + 256]\n",
            "vmovdqa ", words!($lane $group 0), ", ", $newest, "\n",
            "vpaddd xmm0, ", $newest, ", xmmword ptr [{constants} + 16*", $group, "]\n",
            rounds!($abef $cdgh),
        )
    };
}

/// One of the others: its words come from the sixteen before.
macro_rules! made {
    ($group:literal $lane:literal $abef:literal $cdgh:literal $newest:literal $message:literal) => {
        concat!(
            "vmovdqa xmm13, ", words!($lane $group 0), "\n",
            "sha256msg1 xmm13, ", words!($lane $group 1), "\n",
            "vpalignr xmm14, ", $newest, ", ", words!($lane $group 2), ", 4\n",
            "vpaddd xmm13, xmm13, xmm14\n",
            "sha256msg2 xmm13, ", $newest, "\n",
            "vmovdqa ", $newest, ", xmm13\n",
            "vmovdqa ", words!($lane $group 0), ", xmm13\n",
            "vpaddd xmm0, xmm13, xmmword ptr [{constants} + 16*", $group, "]\n",
            rounds!($abef $cdgh),
        )
    };
}

/// Something for each of the four messages.
macro_rules! each {
    ($what:ident $($group:literal)?) => {
        concat!(
            $what!($($group)? 0 "xmm1" "xmm2" "xmm9" "first"),
            $what!($($group)? 1 "xmm3" "xmm4" "xmm10" "second"),
            $what!($($group)? 2 "xmm5" "xmm6" "xmm11" "third"),
            $what!($($group)? 3 "xmm7" "xmm8" "xmm12" "fourth"),
        )
    };
}

macro_rules! load_state {
    ($lane:literal $abef:literal $cdgh:literal $newest:literal $message:literal) => {
        concat!(
            "vmovdqa ",
            $abef,
            ", xmmword ptr [{states} + 32*",
            $lane,
            "]\n",
            "vmovdqa ",
            $cdgh,
            ", xmmword ptr [{states} + 32*",
            $lane,
            " + 16]\n",
        )
    };
}

/// Adds the state from before the chunk, stores the sum and advances to the next chunk.
macro_rules! end_chunk {
    ($lane:literal $abef:literal $cdgh:literal $newest:literal $message:literal) => {
        concat!(
            "vpaddd ",
            $abef,
            ", ",
            $abef,
            ", xmmword ptr [{states} + 32*",
            $lane,
            "]\n",
            "vpaddd ",
            $cdgh,
            ", ",
            $cdgh,
            ", xmmword ptr [{states} + 32*",
            $lane,
            " + 16]\n",
            "vmovdqa xmmword ptr [{states} + 32*",
            $lane,
            "], ",
            $abef,
            "\n",
            "vmovdqa xmmword ptr [{states} + 32*",
            $lane,
            " + 16], ",
            $cdgh,
            "\n",
            "add {",
            $message,
            "}, 64\n",
        )
    };
}

/// Takes in `count` chunks of each message.
///
/// # Safety
///
/// The CPU has the features, each pointer leads to `64 * count` bytes that can be read, and `count` is not 0.
#[target_feature(enable = "sha,avx")]
unsafe fn compress(states: &mut States, messages: [*const u8; 4], count: usize) {
    let mut words = ScheduleWords([[0; 16]; 4]);
    let [first, second, third, fourth] = messages;
    // SAFETY: by the contract of this function, and as the other pointers come from references to what is read and
    // written: 64 and 4 words of `CONSTANTS`, 32 of `states`, 64 of `words`, all of them aligned.
    unsafe {
        asm!(
            each!(load_state),
            "2:",
            each!(given 0), each!(given 1), each!(given 2), each!(given 3),
            each!(made 4), each!(made 5), each!(made 6), each!(made 7),
            each!(made 8), each!(made 9), each!(made 10), each!(made 11),
            each!(made 12), each!(made 13), each!(made 14), each!(made 15),
            each!(end_chunk),
            "dec {count}",
            "jnz 2b",
            constants = in(reg) &raw const CONSTANTS,
            states = in(reg) &raw mut *states,
            words = in(reg) &raw mut words,
            count = inout(reg) count => _,
            first = inout(reg) first => _,
            second = inout(reg) second => _,
            third = inout(reg) third => _,
            fourth = inout(reg) fourth => _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _,
            out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _, out("xmm12") _,
            out("xmm13") _, out("xmm14") _,
            options(nostack),
        );
    }
}

/// Hashes four messages of one length, a multiple of 64.
#[target_feature(enable = "sha,avx")]
pub(crate) fn sha256(messages: [&[u8]; 4], hashes: &mut Vec<u8>) {
    let len = messages[0].len();
    assert!(len.is_multiple_of(64) && messages.iter().all(|message| message.len() == len), "messages of one length");
    let [a, b, c, d, e, f, g, h] = H256;
    let mut states = States([[f, e, b, a, h, g, d, c]; 4]);
    let padding = padding::<64>(len as u64);
    // SAFETY: the caller's CPU has the features, and the messages were just measured.
    unsafe {
        if len > 0 {
            compress(&mut states, messages.map(<[u8]>::as_ptr), len / 64);
        }
        compress(&mut states, [padding.as_ptr(); 4], 1);
    }
    for [f, e, b, a, h, g, d, c] in states.0 {
        [a, b, c, d, e, f, g, h].iter().for_each(|word| hashes.extend_from_slice(&word.to_be_bytes()));
    }
}
