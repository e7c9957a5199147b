//! SHA-256 of sixteen messages, one in each lane of AVX-512, or of two such groups in turns, with registers allocated
//! by hand.
//!
//! A round is a chain of dependent steps that keeps about half of a CPU's vector units busy; a second group fills the
//! other half. No capacity is left for the SHA unit: its instructions are issued through the same ports and yield less,
//! so four messages in it beside a group of sixteen were measured slower than two groups.
//!
//! A chunk of every message is a matrix with a message in each row; the rounds need one word of every message in a
//! register. The matrix is transposed by shuffles: first whole quarters of rows, then words within quarters. Each row
//! is read once, some rows in each turn of sixteen rounds: rows of 4096-byte blocks all map to a part of a core's first
//! cache with room for about a dozen, so most come from the second cache, and reading many at once would stall.
//! |---|---|---|
//! | zmm0-7 | a to h, which move on by a register each round | |
//! | zmm8-15 | | the same |
//! | zmm16-21 | whatever is needed for a moment | the same |
//! | zmm22-23 | the two newest words of the schedule | |
//! | zmm24-25 | | the same |
//! | zmm26 | the shuffle that makes big-endian words of bytes | the same |
#![allow(unsafe_code)]

use std::arch::asm;
use std::mem::{MaybeUninit, offset_of};

use super::CONSTANTS;
use crate::constants::{H256, padding};

/// One word of each message.
type Lanes = [u32; 16];

/// The addresses of sixteen messages.
#[repr(C, align(64))]
struct Group {
    /// Sixteen words of the schedule.
    words: MaybeUninit<[Lanes; 16]>,
    /// The next chunk, half transposed.
    quarters: MaybeUninit<[Lanes; 16]>,
    state: [Lanes; 8],
    messages: [*const u8; 16],
}

impl Group {
    const INITIAL: Group = Group {
        words: MaybeUninit::uninit(),
        quarters: MaybeUninit::uninit(),
        state: {
            let mut state = [[0; 16]; 8];
            let mut word = 0;
            while word < 8 {
                state[word] = [H256[word]; 16];
                word += 1;
            }
            state
        },
        messages: [std::ptr::null(); 16],
    };
}

/// Emits one instruction with its operands.
macro_rules! op {
    ($name:literal $first:expr $(, $other:expr)*) => {
        concat!($name, " ", $first, $(", ", $other,)* "\n")
    };
}

/// Word `$t + $ahead` of a group's schedule.
macro_rules! word {
    ($group:literal $t:tt $ahead:literal) => {
        concat!("zmmword ptr [{groups} + {size}*", $group, " + {words} + 64*((", $t, " + ", $ahead, ") mod 16)]")
    };
}

/// Quarter `$quarter` of rows `$row`, `$row + 4`, `$row + 8` and `$row + 12`.
macro_rules! quarter {
    ($group:literal $quarter:literal $row:literal) => {
        concat!("zmmword ptr [{groups} + {size}*", $group, " + {quarters} + 256*", $quarter, " + 64*", $row, "]")
    };
}

/// Quarter `$quarter` of every fourth row, from the one on that is the turn's.
macro_rules! collected {
    ($group:literal $quarter:literal) => {
        concat!("zmmword ptr [{groups} + 8*{nth} + {size}*", $group, " + {quarters} + 256*", $quarter, "]")
    };
}

macro_rules! state {
    ($group:literal $word:literal) => {
        concat!("zmmword ptr [{groups} + {size}*", $group, " + {state} + 64*", $word, "]")
    };
}

/// To zmm16 what the standard calls a sigma of a word, which is zmm16 itself where it is shifted.
macro_rules! sigma {
    ($of:literal $first:literal $second:literal $last:literal $by:literal) => {
        concat!(
            op!("vprord" "zmm17", $of, $first),
            op!("vprord" "zmm18", $of, $second),
            op!($last "zmm16", $of, $by),
            op!("vpternlogd" "zmm16", "zmm17", "zmm18", "0x96"),
        )
    };
}

/// The new e where a group is alone: it is ready two additions earlier, for one addition more.
macro_rules! alone {
    ($d:literal $h:literal) => {
        concat!(
            op!("vpaddd" $d, $d, $h),
            op!("vpaddd" $d, $d, "zmm19"),
            op!("vpaddd" $d, $d, "zmm16"),
            op!("vpaddd" $h, $h, "zmm19"),
            op!("vpaddd" $h, $h, "zmm16"),
        )
    };
}

/// Computes the new e, interleaved with the instructions of another group.
macro_rules! by_turns {
    ($d:literal $h:literal) => {
        concat!(
            op!("vpaddd" $h, $h, "zmm19"),
            op!("vpaddd" $h, $h, "zmm16"),
            op!("vpaddd" $d, $d, $h),
        )
    };
}

/// A round: the new e comes to where d is, the new a to where h is.
macro_rules! round {
    ($sums:ident $t:tt [$group:literal $newest:literal $other:literal
     $a:literal $b:literal $c:literal $d:literal $e:literal $f:literal $g:literal $h:literal]) => {
        concat!(
            op!("vpaddd" $h, $h, word!($group $t 0)),
            op!("vpaddd" $h, $h, concat!("dword ptr [{constants} + 8*{nth} + 4*", $t, "]{{1to16}}")),
            op!("vmovdqa32" "zmm19", $e),
            op!("vpternlogd" "zmm19", $f, $g, "0xca"),
            sigma!($e 6 11 "vprord" 25),
            $sums!($d $h),
            op!("vmovdqa32" "zmm19", $a),
            op!("vpternlogd" "zmm19", $b, $c, "0xe8"),
            sigma!($a 2 13 "vprord" 22),
            op!("vpaddd" $h, $h, "zmm19"),
            op!("vpaddd" $h, $h, "zmm16"),
        )
    };
}

/// A round, and its place in the schedule is taken by the word of sixteen rounds later.
macro_rules! early {
    ($sums:ident $t:tt [$group:tt $newest:literal $($other:literal)*]) => {
        concat!(
            round!($sums $t [$group $newest $($other)*]),
            op!("vmovdqa32" "zmm20", word!($group $t 1)),
            sigma!("zmm20" 7 18 "vpsrld" 3),
            op!("vpaddd" "zmm20", "zmm16", word!($group $t 0)),
            op!("vpaddd" "zmm20", "zmm20", word!($group $t 9)),
            sigma!($newest 17 19 "vpsrld" 10),
            op!("vpaddd" $newest, "zmm20", "zmm16"),
            op!("vmovdqa32" word!($group $t 0), $newest),
            early!($t $group),
        )
    };
    (3 0) => { rows!(0) };
    (11 1) => { rows!(1) };
    ($t:tt $group:tt) => { "" };
}

/// One of the last sixteen rounds, which make no new words. Those of the next chunk come instead.
macro_rules! late {
    ($sums:ident $t:tt [$group:tt $($other:literal)*]) => {
        concat!(round!($sums $t [$group $($other)*]), late!($t $group))
    };
    (0 $group:tt) => { rows!($group) };
    (3 $group:tt) => { columns!($group 0) };
    (7 $group:tt) => { columns!($group 1) };
    (11 $group:tt) => { columns!($group 2) };
    (15 $group:tt) => { columns!($group 3) };
    ($t:tt $group:tt) => { "" };
}

/// Rounds of each group by turns.
macro_rules! rounds {
    ($what:ident $sums:ident $([$($group:tt)*])*;) => { "" };
    ($what:ident $sums:ident
     $([$group:tt $newest:literal $other:literal
        $a:literal $b:literal $c:literal $d:literal $e:literal $f:literal $g:literal $h:literal])*;
     $t:tt $($later:tt)*) => {
        concat!(
            $($what!($sums $t [$group $newest $other $a $b $c $d $e $f $g $h]),)*
            rounds!($what $sums $([$group $other $newest $h $a $b $c $d $e $f $g])*; $($later)*),
        )
    };
}

/// Reads every fourth row of the next chunk, from the one on that is the turn's, and brings their quarters together.
macro_rules! rows {
    ($group:literal) => {
        concat!(
            rows!($group 0 "zmm16"),
            rows!($group 4 "zmm17"),
            rows!($group 8 "zmm18"),
            rows!($group 12 "zmm19"),
            op!("vshufi32x4" "zmm20", "zmm16", "zmm17", "0x88"),
            op!("vshufi32x4" "zmm16", "zmm16", "zmm17", "0xdd"),
            op!("vshufi32x4" "zmm21", "zmm18", "zmm19", "0x88"),
            op!("vshufi32x4" "zmm18", "zmm18", "zmm19", "0xdd"),
            op!("vshufi32x4" "zmm17", "zmm20", "zmm21", "0x88"),
            op!("vshufi32x4" "zmm20", "zmm20", "zmm21", "0xdd"),
            op!("vshufi32x4" "zmm19", "zmm16", "zmm18", "0x88"),
            op!("vshufi32x4" "zmm16", "zmm16", "zmm18", "0xdd"),
            op!("vmovdqa32" collected!($group 0), "zmm17"),
            op!("vmovdqa32" collected!($group 1), "zmm19"),
            op!("vmovdqa32" collected!($group 2), "zmm20"),
            op!("vmovdqa32" collected!($group 3), "zmm16"),
        )
    };
    ([$group:literal $($registers:literal)*]) => { rows!($group) };
    ($group:literal $row:literal $to:literal) => {
        concat!(
            op!("mov" "{row}", concat!(
                "qword ptr [{groups} + {size}*", $group, " + {messages} + {nth} + 8*", $row, "]"
            )),
            op!("vmovdqu32" $to, "zmmword ptr [{row} + {offset}]"),
            op!("vpshufb" $to, $to, "zmm26"),
        )
    };
}

/// Makes four words of the schedule of a quarter of all rows.
macro_rules! columns {
    ($group:literal $quarter:literal) => {
        concat!(
            op!("vmovdqa32" "zmm16", quarter!($group $quarter 0)),
            op!("vmovdqa32" "zmm17", quarter!($group $quarter 2)),
            op!("vpunpckldq" "zmm18", "zmm16", quarter!($group $quarter 1)),
            op!("vpunpckhdq" "zmm16", "zmm16", quarter!($group $quarter 1)),
            op!("vpunpckldq" "zmm19", "zmm17", quarter!($group $quarter 3)),
            op!("vpunpckhdq" "zmm17", "zmm17", quarter!($group $quarter 3)),
            op!("vpunpcklqdq" "zmm20", "zmm18", "zmm19"),
            op!("vpunpckhqdq" "zmm18", "zmm18", "zmm19"),
            op!("vpunpcklqdq" "zmm19", "zmm16", "zmm17"),
            op!("vpunpckhqdq" "zmm16", "zmm16", "zmm17"),
            columns!($group $quarter 0 "zmm20"),
            columns!($group $quarter 1 "zmm18"),
            columns!($group $quarter 2 "zmm19"),
            columns!($group $quarter 3 "zmm16"),
        )
    };
    ($group:literal $quarter:literal $word:literal $from:literal) => {
        op!("vmovdqa32" concat!(
            "zmmword ptr [{groups} + {size}*", $group, " + {words} + 256*", $quarter, " + 64*", $word, "]"
        ), $from)
    };
}

/// Before the first chunk.
macro_rules! begin {
    ([$group:literal $newest:literal $other:literal
      $a:literal $b:literal $c:literal $d:literal $e:literal $f:literal $g:literal $h:literal]) => {
        concat!(
            columns!($group 0), columns!($group 1), columns!($group 2), columns!($group 3),
            op!("vmovdqa32" $a, state!($group 0)),
            op!("vmovdqa32" $b, state!($group 1)),
            op!("vmovdqa32" $c, state!($group 2)),
            op!("vmovdqa32" $d, state!($group 3)),
            op!("vmovdqa32" $e, state!($group 4)),
            op!("vmovdqa32" $f, state!($group 5)),
            op!("vmovdqa32" $g, state!($group 6)),
            op!("vmovdqa32" $h, state!($group 7)),
        )
    };
}

/// Sets up the state before each chunk.
macro_rules! begin_chunk {
    ([$group:literal $newest:literal $other:literal $($state:literal)*]) => {
        concat!(op!("vmovdqa32" $newest, word!($group 14 0)), op!("vmovdqa32" $other, word!($group 15 0)))
    };
}

/// Adds the state from before the chunk and keeps the sum.
macro_rules! end_chunk {
    ([$group:literal $newest:literal $other:literal
      $a:literal $b:literal $c:literal $d:literal $e:literal $f:literal $g:literal $h:literal]) => {
        concat!(
            end_chunk!($group 0 $a), end_chunk!($group 1 $b), end_chunk!($group 2 $c), end_chunk!($group 3 $d),
            end_chunk!($group 4 $e), end_chunk!($group 5 $f), end_chunk!($group 6 $g), end_chunk!($group 7 $h),
        )
    };
    ($group:literal $word:literal $register:literal) => {
        concat!(
            op!("vpaddd" $register, $register, state!($group $word)),
            op!("vmovdqa32" state!($group $word), $register),
        )
    };
}

macro_rules! lanes {
    ($name:ident $compress:ident $groups:literal $lanes:literal $sums:ident $($group:tt)*) => {
        /// Takes in `count` chunks of each message.
        ///
        /// # Safety
        ///
        /// The CPU has the features, each message is `64 * count` bytes that can be read, and `count` is not 0.
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        unsafe fn $compress(groups: &mut [Group; $groups], count: usize) {
            // SAFETY: by the contract of this function, and as the other pointers come from references to what is read
            // and written. `offset` stays below `64 * count`: before the last chunk it stands still, so that chunk is
            // read again as the one after it. The constants are read from the start of `CONSTANTS` to its end.
            unsafe {
                asm!(
                    "vbroadcasti32x4 zmm26, xmmword ptr [{constants} + 256]",
                    "2:",
                    $(rows!($group),)*
                    "add {nth}, 8",
                    "cmp {nth}, 32",
                    "jne 2b",
                    $(begin!($group),)*
                    "3:",
                    "lea {row}, [{offset} + 64]",
                    "cmp {count}, 1",
                    "cmovne {offset}, {row}",
                    "xor {nth:e}, {nth:e}",
                    $(begin_chunk!($group),)*
                    "4:",
                    rounds!(early $sums $($group)*; 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15),
                    "add {nth}, 8",
                    "cmp {nth}, 24",
                    "jne 4b",
                    rounds!(late $sums $($group)*; 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15),
                    $(end_chunk!($group),)*
                    "dec {count}",
                    "jnz 3b",
                    // What follows may be code for SSE, which waits where the upper parts of registers are in use.
                    "vzeroupper",
                    size = const size_of::<Group>(),
                    words = const offset_of!(Group, words),
                    quarters = const offset_of!(Group, quarters),
                    state = const offset_of!(Group, state),
                    messages = const offset_of!(Group, messages),
                    groups = in(reg) &raw mut *groups,
                    constants = in(reg) &raw const CONSTANTS,
                    // Eight times the number of the turn: of the four times sixteen rounds, and of the rows read in it.
                    nth = inout(reg) 0_usize => _,
                    count = inout(reg) count => _,
                    offset = inout(reg) 0_usize => _,
                    row = out(reg) _,
                    out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _,
                    out("zmm6") _, out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _,
                    out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _, out("zmm16") _, out("zmm17") _,
                    out("zmm18") _, out("zmm19") _, out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _,
                    out("zmm24") _, out("zmm25") _, out("zmm26") _,
                    options(nostack),
                );
            }
        }

        /// Hashes messages of one length, a multiple of 64.
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        pub(crate) fn $name(messages: [&[u8]; $lanes], hashes: &mut Vec<u8>) {
            let len = messages[0].len();
            assert!(
                len.is_multiple_of(64) && messages.iter().all(|message| message.len() == len),
                "messages of one length"
            );
            let padding = padding::<64>(len as u64);
            let mut groups = [Group::INITIAL; $groups];
            for (group, messages) in groups.iter_mut().zip(messages.as_chunks::<16>().0) {
                for (to, message) in group.messages.iter_mut().zip(messages) {
                    *to = message.as_ptr();
                }
            }
            // SAFETY: the caller's CPU has the features, and the messages were just measured.
            unsafe {
                if len > 0 {
                    $compress(&mut groups, len / 64);
                }
                groups.iter_mut().for_each(|group| group.messages = [padding.as_ptr(); 16]);
                $compress(&mut groups, 1);
            }
            for group in &groups {
                for lane in 0..16 {
                    let mut hash = [0; 32];
                    for (bytes, word) in hash.as_chunks_mut::<4>().0.iter_mut().zip(&group.state) {
                        *bytes = word[lane].to_be_bytes();
                    }
                    hashes.extend_from_slice(&hash);
                }
            }
        }
    };
}

lanes!(
    sha256 compress 1 16 alone
    [0 "zmm22" "zmm23" "zmm0" "zmm1" "zmm2" "zmm3" "zmm4" "zmm5" "zmm6" "zmm7"]
);
lanes!(
    sha256_by_turns compress_by_turns 2 32 by_turns
    [0 "zmm22" "zmm23" "zmm0" "zmm1" "zmm2" "zmm3" "zmm4" "zmm5" "zmm6" "zmm7"]
    [1 "zmm24" "zmm25" "zmm8" "zmm9" "zmm10" "zmm11" "zmm12" "zmm13" "zmm14" "zmm15"]
);
