//! Schedules as plain data: derived from a seed alone, printable, independent of the results of commands.

use std::fmt;
use std::time::Duration;

use rustix::process::Signal;

use crate::rng::Numbers;

/// Number of trees to create images of.
pub(crate) const TREES: usize = 8;
/// Trees from this number on have contents that no other tree has. The first of them takes long to read.
pub(crate) const RARE: usize = TREES - 2;
/// Tree whose object gets damaged.
pub(crate) const ROTTEN: usize = TREES - 1;
/// Number of OCI images to pull.
pub(crate) const LAYOUTS: usize = 2;
/// Actors that run our commands with names of their own.
pub(crate) const WRITERS: usize = 4;
/// Actor that runs cfsctl.
pub(crate) const FOREIGN: usize = WRITERS;
/// Actor that runs `mkcomposefs --digest-store`.
pub(crate) const PLAIN: usize = WRITERS + 1;
/// Actor that runs gc and fsck.
pub(crate) const KEEPER: usize = WRITERS + 2;
/// Number of actors.
pub(crate) const PARTIES: usize = WRITERS + 3;

/// Names that cfsctl accepts and our commands do not.
const FOREIGN_NAMES: [&str; 6] = [
    "c/plain",
    "c/other",
    ".staged",
    "c/.hidden/name",
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "c/control\u{1}character",
];

/// Minimum age of what a gc removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grace {
    /// One hour: everything created by this run is too young.
    Hour,
    /// Zero: nothing is too young.
    Zero,
}

/// Actors that run at the same time. Everything is checked when all have finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) number: usize,
    pub(crate) grace: Grace,
    /// True if `cfsctl gc` runs too, which honours neither leases nor mounts nor a grace.
    pub(crate) foreign_gc: bool,
    /// Steps of each actor, run one after the other.
    pub(crate) parties: Vec<Vec<Step>>,
}

/// One command and its fate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Delay before the command.
    pub(crate) pause: Duration,
    pub(crate) action: Action,
    pub(crate) fate: Fate,
    /// Offset of the command's clock, in seconds.
    pub(crate) clock: i64,
    /// Limit on open files: with a low one the command commits in small batches.
    pub(crate) open_files: Option<u64>,
    /// True if the second build runs the command, if there is one.
    pub(crate) by_second: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Create {
        tree: usize,
        name: String,
    },
    Tag {
        from: String,
        to: String,
    },
    Untag {
        name: String,
    },
    /// `--grace=0`, or the default grace of one hour.
    Gc {
        has_grace: bool,
    },
    Fsck,
    Repair,
    Df,
    Export {
        name: String,
    },
    Import {
        tree: usize,
        name: String,
    },
    Sync {
        tree: usize,
    },
    /// Our own pull of a layout, which cfsctl may pull at the same time under the same name.
    Pull {
        layout: usize,
    },
    Mount {
        name: String,
    },
    Umount,
    ForeignCreate {
        tree: usize,
        name: String,
    },
    ForeignUntag {
        name: String,
    },
    ForeignPull {
        layout: usize,
    },
    ForeignGc,
    /// An object of the tree [`ROTTEN`] is damaged.
    Rot,
    Plain {
        tree: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Runs,
    Ends {
        after: Duration,
        signal: Signal,
    },
    Stops {
        after: Duration,
        length: Duration,
    },
    StopsAndEnds {
        after: Duration,
        length: Duration,
        signal: Signal,
    },
    /// The command is stopped again and again, so that every part of it takes long, also the short steps.
    Stutters {
        runs: Duration,
        stops: Duration,
    },
}

impl Round {
    /// Returns the round of this number. The first rounds are scenarios in which known faults are likely; all others
    /// are random.
    pub(crate) fn new(seed: u64, number: usize) -> Self {
        let mut numbers = Numbers::new(seed.wrapping_add(number as u64 * 0x0001_0000_0001));
        // A round must first leave something old and unneeded.
        let grace = if number.is_multiple_of(2) { Grace::Hour } else { Grace::Zero };
        let foreign_gc = grace == Grace::Zero && numbers.one_in(4);
        let mut round = Self { number, grace, foreign_gc, parties: Vec::new() };
        round.parties = (0..PARTIES).map(|party| round.steps(&mut numbers, party)).collect();
        if number.is_multiple_of(4) {
            round.interrupt_create(&mut numbers);
        } else if number % 4 == 2 {
            round.rot(&mut numbers);
        }
        round
    }

    /// Scenario that is unlikely by chance: a create is stopped after storing some objects, mkcomposefs finds them and
    /// finishes, and then the create is interrupted.
    fn interrupt_create(&mut self, numbers: &mut Numbers) {
        let after = Duration::from_millis(numbers.between(20, 250));
        let length = Duration::from_millis(700);
        let create = &mut self.parties[0][0];
        create.action = Action::Create { tree: RARE, name: "p0/0".into() };
        create.fate = Fate::StopsAndEnds { after, length, signal: numbers.pick(&[Signal::INT, Signal::TERM]) };
        create.open_files = Some(64);
        create.pause = Duration::ZERO;
        let plain = &mut self.parties[PLAIN][0];
        plain.action = Action::Plain { tree: RARE };
        plain.fate = Fate::Runs;
        plain.pause = after + Duration::from_millis(30);
    }

    /// Scenario: an object is damaged, `fsck --repair` detects that and is slow, and a create stores the right object
    /// in its place.
    fn rot(&mut self, numbers: &mut Numbers) {
        let step = |pause, action| Step {
            pause: Duration::from_millis(pause),
            action,
            fate: Fate::Runs,
            clock: 0,
            open_files: None,
            by_second: false,
        };
        let create = || Action::Create { tree: ROTTEN, name: "p1/rotten".into() };
        let create_again = step(numbers.between(300, 1600), create());
        self.parties[1] = vec![step(0, create()), step(0, Action::Rot), create_again];
        let mut repair = step(numbers.between(100, 300), Action::Repair);
        repair.fate = Fate::Stutters { runs: Duration::from_millis(6), stops: Duration::from_millis(45) };
        self.parties[KEEPER] = vec![repair];
    }

    fn steps(&self, numbers: &mut Numbers, party: usize) -> Vec<Step> {
        let count = if party == KEEPER { 3 } else { 2 };
        (0..count).map(|_| self.step(numbers, party)).collect()
    }

    fn step(&self, numbers: &mut Numbers, party: usize) -> Step {
        let action = match party {
            FOREIGN => self.foreign_action(numbers),
            PLAIN => Action::Plain { tree: numbers.below(RARE) },
            KEEPER => match numbers.below(8) {
                0 => Action::Fsck,
                1 => Action::Repair,
                _ => Action::Gc { has_grace: self.grace == Grace::Hour || numbers.one_in(3) },
            },
            _ => self.own_action(numbers, party),
        };
        let fate = fate(numbers, &action);
        // With a clock that is ahead, everything is old for a gc; with one that is behind, everything is young.
        let clock = match action {
            Action::Gc { has_grace: true } if self.grace == Grace::Zero => numbers.pick(&[7200, 400 * 86400]),
            Action::Gc { .. } if self.grace == Grace::Hour => numbers.pick(&[0, 0, 1800, -10800]),
            Action::Plain { .. } | Action::ForeignGc => 0,
            _ => numbers.pick(&[0, 0, 0, 0, 10800, -10800, 400 * 86400]),
        };
        let writes = matches!(action, Action::Create { .. } | Action::Import { .. } | Action::Sync { .. });
        let open_files = (writes && numbers.one_in(2)).then(|| numbers.between(48, 160));
        let pause = Duration::from_millis(numbers.pick(&[0, 0, 20, 60, 150, 300]));
        Step { pause, action, fate, clock, open_files, by_second: party % 2 == 1 }
    }

    fn own_action(&self, numbers: &mut Numbers, party: usize) -> Action {
        let name = format!("p{party}/{}", numbers.below(3));
        let tree = numbers.below(RARE);
        match numbers.below(22) {
            0..=6 => Action::Create { tree, name },
            7 => Action::Tag { from: format!("p{party}/{}", numbers.below(3)), to: name },
            8..=10 => Action::Untag { name },
            11 | 12 => Action::Import { tree, name },
            13 => Action::Sync { tree },
            14 => Action::Export { name },
            15 => Action::Umount,
            16 => Action::Df,
            20 | 21 => Action::Pull { layout: numbers.below(LAYOUTS) },
            17 if self.grace == Grace::Zero => Action::Gc { has_grace: false },
            _ if self.foreign_gc => Action::Untag { name },
            _ => Action::Mount { name },
        }
    }

    fn foreign_action(&self, numbers: &mut Numbers) -> Action {
        let name = numbers.pick(&FOREIGN_NAMES).to_owned();
        match numbers.below(8) {
            0..=3 => Action::ForeignCreate { tree: numbers.below(RARE), name },
            4 | 5 => Action::ForeignPull { layout: numbers.below(LAYOUTS) },
            6 if self.foreign_gc => Action::ForeignGc,
            _ => Action::ForeignUntag { name },
        }
    }
}

fn fate(numbers: &mut Numbers, action: &Action) -> Fate {
    let is_quick = matches!(action, Action::Mount { .. } | Action::Umount | Action::ForeignUntag { .. });
    let after = Duration::from_millis(numbers.between(1, 120));
    // Longer than most commands run, so that other actors run whole commands meanwhile.
    let length = Duration::from_millis(numbers.between(300, 600));
    let signal = numbers.pick(&[Signal::KILL, Signal::INT, Signal::TERM]);
    match numbers.below(12) {
        _ if is_quick => Fate::Runs,
        0 | 1 => Fate::Ends { after, signal },
        2..=4 => Fate::Stops { after, length },
        5 | 6 => Fate::StopsAndEnds { after, length, signal },
        7 => Fate::Stutters { runs: Duration::from_millis(8), stops: Duration::from_millis(numbers.between(20, 60)) },
        _ => Fate::Runs,
    }
}

impl fmt::Display for Round {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, grace, foreign_gc, parties } = self;
        writeln!(out, "round {number}: grace {grace:?}, cfsctl gc {foreign_gc}")?;
        for (party, steps) in parties.iter().enumerate() {
            for step in steps {
                writeln!(out, "  party {party}: {step}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "after {:?} {:?}", self.pause, self.action)?;
        match self.fate {
            Fate::Runs => {}
            Fate::Ends { after, signal } => write!(out, ", {signal:?} after {after:?}")?,
            Fate::Stops { after, length } => write!(out, ", stopped after {after:?} for {length:?}")?,
            Fate::StopsAndEnds { after, length, signal } => {
                write!(out, ", stopped after {after:?} for {length:?}, then {signal:?}")?;
            }
            Fate::Stutters { runs, stops } => write!(out, ", stopped for {stops:?} every {runs:?}")?,
        }
        if self.clock != 0 {
            write!(out, ", clock {:+} s", self.clock)?;
        }
        match self.open_files {
            Some(limit) => write!(out, ", {limit} open files"),
            None => Ok(()),
        }
    }
}
