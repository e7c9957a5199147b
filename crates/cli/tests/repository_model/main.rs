//! Tests the guarantees of the commands with a model.
//!
//! A schedule is derived from a seed. It has rounds in which several actors run our commands, cfsctl and `mkcomposefs
//! --digest-store` in one repository at the same time, with jumping clocks, few open files, stops longer than other
//! commands take, and termination by signals. The model records the guarantees of each finished command: a name and its
//! image with all objects exist until the name is removed, a mount shows its tree until it is unmounted, and the
//! objects of an image file exist for the grace. After each round everything is checked; at the end nothing is left
//! over.
//!
//! `COMPOSEFS_MODEL_SEED` repeats a schedule (not its timing), `COMPOSEFS_MODEL_SECONDS` sets the duration,
//! `COMPOSEFS_MODEL_PROGRAM` names another program to test, and `COMPOSEFS_MODEL_SECOND` another build that works in
//! the same repository. `COMPOSEFS_MODEL_WITHOUT` leaves out known faults of an older build (`Programs::leave_out`),
//! and `COMPOSEFS_MODEL_VERBOSE` prints all steps.

mod actor;
mod checks;
mod fixture;
mod rng;
mod run;
mod schedule;

use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libcomposefs_testkit::{privilege, stats};

use actor::Party;
use checks::Judge;
use fixture::{Place, Programs};
use schedule::{Grace, PARTIES, Round};

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

/// Runs one round, with all actors at once, and checks the result.
fn play(place: &Place, round: &Round, parties: &mut [Party], judge: &mut Judge) {
    for party in &mut *parties {
        party.history.clear();
        if round.grace == Grace::Zero {
            // The grace has passed.
            party.files.clear();
        }
        if round.foreign_gc {
            // cfsctl also removes mounted images without a name.
            party.umount(place);
        }
    }
    std::thread::scope(|scope| {
        for party in &mut *parties {
            scope.spawn(move || party.work(place, round));
        }
    });
    judge.judge(place, parties);
    if round.number % 4 == 3 {
        parties.iter_mut().for_each(|party| party.files.clear());
        judge.clean(place);
        judge.judge(place, parties);
    }
}

fn expect_kept(judge: &Judge, seed: u64, round: &Round, parties: &[Party]) {
    if judge.broken.is_empty() {
        return;
    }
    let history: Vec<&str> = parties.iter().flat_map(|party| &party.history).map(String::as_str).collect();
    panic!(
        "broken promises:\n{}\n\nCOMPOSEFS_MODEL_SEED={seed}\n{round}\nwhat happened (round.party):\n{}\n",
        judge.broken.join("\n"),
        history.join("\n")
    );
}

#[test]
fn guarantees_hold() {
    let is_full = std::env::var_os("COMPOSEFS_FULL").is_some();
    let seconds = number("COMPOSEFS_MODEL_SECONDS").unwrap_or(if is_full { 600 } else { 18 });
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = number("COMPOSEFS_MODEL_SEED").unwrap_or(u64::from(now.subsec_nanos()));
    stats::show(&format!("model: COMPOSEFS_MODEL_SEED={seed}"));
    let place = Place::new(Programs::find());
    for (is_there, what) in [
        (place.programs.cfsctl.is_some(), "cfsctl 0.9.4 is not there"),
        (place.programs.clock.is_some(), "libfaketime is not there, so clocks do not jump"),
        (privilege::is_root(), "mounting takes root"),
    ] {
        if !is_there {
            stats::show(&format!("model: without some of the steps: {what}"));
        }
    }
    let mut parties: Vec<Party> = (0..PARTIES).map(Party::new).collect();
    let mut judge = Judge::default();
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut rounds = 0;
    while Instant::now() < end {
        let round = Round::new(seed, rounds);
        play(&place, &round, &mut parties, &mut judge);
        expect_kept(&judge, seed, &round, &parties);
        if std::env::var_os("COMPOSEFS_MODEL_VERBOSE").is_some() {
            parties.iter().flat_map(|party| &party.history).for_each(|line| stats::show(line));
        }
        rounds += 1;
    }
    judge.empty(&place, &mut parties);
    expect_kept(&judge, seed, &Round::new(seed, rounds), &parties);
    let (done, killed) = parties.iter().fold((0, 0), |sum, party| (sum.0 + party.done, sum.1 + party.killed));
    stats::show(&format!("model: {rounds} rounds, {done} commands ended, {killed} were killed"));
    assert!(done > 10 && killed > 0, "{done} {killed}");
}

/// The same seed yields the same schedule, and another seed another one.
#[test]
fn a_schedule_depends_on_its_seed_only() {
    let all = |seed| (0..20).map(|number| Round::new(seed, number).to_string()).collect::<String>();
    assert_eq!(all(7), all(7));
    assert_ne!(all(7), all(8));
}

/// The checks detect losses: each time one thing is removed without the knowledge of the model.
#[test]
fn losses_are_detected() {
    let place = Place::new(Programs { cfsctl: None, ..Programs::find() });
    let repository = place.path("repo");
    let round = |action| {
        let step = schedule::Step {
            pause: Duration::ZERO,
            action,
            fate: schedule::Fate::Runs,
            clock: 0,
            open_files: None,
            by_second: false,
        };
        let mut parties = vec![Vec::new(); PARTIES];
        parties[0] = vec![step];
        Round { number: 0, grace: Grace::Hour, foreign_gc: false, parties }
    };
    let create = || round(schedule::Action::Create { tree: 0, name: "p0/0".into() });
    let plain = || round(schedule::Action::Plain { tree: 1 });
    let digest = place.digests[0].clone();
    let first_object = || {
        let fan = fs::read_dir(repository.join("objects")).unwrap().next().unwrap().unwrap().path();
        fs::read_dir(fan).unwrap().next().unwrap().unwrap().path()
    };
    let judged = |round: &Round, harm: &dyn Fn()| {
        let (mut parties, mut judge) = (vec![Party::new(0)], Judge::default());
        play(&place, round, &mut parties, &mut judge);
        assert!(judge.broken.is_empty(), "{:?}", judge.broken);
        harm();
        judge.judge(&place, &mut parties);
        let broken = std::mem::take(&mut judge.broken);
        judge.empty(&place, &mut parties);
        broken
    };
    let kept = judged(&create(), &|| {});
    assert!(kept.is_empty(), "{kept:?}");
    let lost = judged(&create(), &|| fs::remove_file(repository.join("images/refs/p0/0")).unwrap());
    assert!(lost[0].contains("leads to None"), "{lost:?}");
    let lost = judged(&create(), &|| fs::remove_file(repository.join("images").join(&digest)).unwrap());
    assert!(lost[0].contains("the image"), "{lost:?}");
    // A step that is left out stores no object that could be lost.
    let is_played = |round: &Round| !round.parties[0].iter().any(|step| place.programs.leave_out(&step.action));
    for round in [create(), plain()].into_iter().filter(is_played) {
        let lost = judged(&round, &|| fs::remove_file(first_object()).unwrap());
        assert!(lost.iter().any(|lost| lost.contains("No such file")), "{lost:?}");
        let lost = judged(&round, &|| fs::write(first_object(), "another").unwrap());
        assert!(lost.iter().any(|lost| lost.contains("content")), "{lost:?}");
    }
    let mut judge = Judge::default();
    fs::write(repository.join("objects/.tmpabcdef"), "").unwrap();
    fs::create_dir(repository.join("leases/a-directory")).unwrap();
    judge.clean(&place);
    assert!(judge.broken.iter().any(|broken| broken.contains("leases are left")), "{:?}", judge.broken);
}
