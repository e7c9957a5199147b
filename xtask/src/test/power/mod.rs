//! Power cuts: what a guest had made durable when its power went is there when it comes back, whole.
//!
//! A scenario is a script that prints a marker, at which the power is cut, and one that judges what the next boot
//! finds. The unflushed writes are lost, all of them or an arbitrary part. [`interrupted`] cuts in the midst of a
//! command, at moments spread over the time it takes. [`replay`] looks at a repository at hundreds of instants.

mod replay;

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use crate::kernel::Kernel;
use crate::test::Options;
use crate::test::programs::Programs;
use crate::test::report::Suite;
use crate::vm::volatile_disk::Loss;
use crate::vm::{Disk, End, Machine};

const MARKER: &str = "CUT THE POWER";
const ALL: &[Loss] = &[Loss::All];

struct Scenario {
    name: &'static str,
    /// Ends well before the marker is printed for it.
    before: &'static str,
    /// Succeeds if all is well after the next boot; `$LOSS` is `All` or `Some`, `$SAID` the last line printed before.
    after: &'static str,
    /// True if the scenario proves nothing unless something was lost. A program that flushes all it wrote loses
    /// nothing.
    must_lose: bool,
    /// It runs once with each of these.
    losses: &'static [Loss],
}

/// `/mnt` is the disk, the program under test is on the `PATH`, and so are [`WORDS`].
const SCENARIOS: &[Scenario] = &[
    Scenario {
        // The proof that the cuts cut. Direct writes over blocks that are there already reach the disk without a flush.
        name: "only_flushed_writes_are_promised",
        before: "head -c 1048576 /dev/zero > lost; yes kept | head -c 300000 > kept; sync
                 yes new | dd of=lost bs=65536 count=16 iflag=fullblock oflag=direct conv=notrunc",
        after: "yes kept | head -c 300000 | cmp - kept || exit 1
                [ $LOSS = Some ] || head -c 1048576 /dev/zero | cmp - lost",
        must_lose: true,
        losses: &[Loss::All, Loss::Some(1)],
    },
    Scenario {
        // The proof that what `mkcomposefs` promises is no matter of course.
        name: "a_plain_copy_is_lost",
        before: "make_tree tree; sync; cp -r tree copy; diff -r tree copy",
        after: "! diff -r tree copy > /dev/null",
        must_lose: false,
        losses: ALL,
    },
    Scenario {
        name: "a_new_image_and_its_objects_are_there",
        before: "make_tree tree; objects_of tree > expected; sync
                 mkcomposefs --print-digest --digest-store=made/on/the/way tree image",
        after: "[ \"$(digest_of image)\" = \"$SAID\" ] || fail \"the image is $(digest_of image), not $SAID\"
                whole made/on/the/way; cmp objects expected || fail 'other objects'",
        must_lose: false,
        losses: ALL,
    },
    Scenario {
        // Few objects are synced one by one, and one of these exists already and was not synced.
        name: "a_replaced_image_and_few_objects_are_there",
        before: "make_tree all; mkdir tree; cp all/large all/many/faa[abcd] tree; cp all/large image
                 objects_of tree > expected; sync; mkcomposefs --digest-store=new/store tree other; sync
                 one=$(find new/store -type f | head -n 1); cp $one found; rm $one; sync; cp found $one
                 mkcomposefs --print-digest --digest-store=new/store tree image",
        after: "[ \"$(digest_of image)\" = \"$SAID\" ] || fail \"the image is $(digest_of image), not $SAID\"
                whole new/store; cmp objects expected || fail 'other objects'",
        must_lose: false,
        losses: ALL,
    },
    Scenario {
        name: "a_repository_is_as_the_last_command_left_it",
        before: "make_tree one; cp -r one two; seq 5000 > two/more; sync; C='composefs --repo r'; $C init
                 $C create one --name a/one; $C create two --name two; $C tag two a/again; $C untag two
                 $C untag a/one; $C gc --grace=0 > /dev/null; readlink r/images/refs/a/again",
        after: "C='composefs --repo r'; $C fsck || fail 'it is damaged'
                [ \"$($C images --quiet)\" = a/again ] || fail \"other names: $($C images)\"
                [ \"$(readlink r/images/refs/a/again)\" = \"$SAID\" ] || fail 'another image'
                whole r/objects",
        must_lose: false,
        losses: &[Loss::All, Loss::Some(3)],
    },
    Scenario {
        // The first pull has ended, the second one is on its way.
        name: "a_pull_is_there_or_goes_on",
        before: "make_tree one; cp -r one two; seq 1000000 2000000 > two/more; objects_of two > expected
                 C='composefs --repo from'; $C init
                 for name in one two; do $C create $name --name $name; $C push $name ./remote; done; sync
                 C='composefs --repo r'; $C init; sync; $C pull ./remote one; readlink r/images/refs/one
                 $C pull ./remote two --limit-rate=50k > /dev/null 2>&1 & usleep 500000; kill -0 $!",
        after: "C='composefs --repo r'; $C fsck || fail 'it is damaged'
                [ \"$($C images --quiet)\" = one ] || fail \"other names: $($C images)\"
                [ \"$(readlink r/images/refs/one)\" = \"$SAID\" ] || fail 'another image'
                whole r/objects; $C pull ./remote two || fail 'the pull does not go on'
                $C fsck || fail 'it is damaged afterwards'; whole r/objects; ! grep -vxFf objects expected",
        must_lose: false,
        losses: &[Loss::Some(5)],
    },
    Scenario {
        // The same with images of OCI.
        name: "an_oci_pull_is_there_or_goes_on",
        before: "mkdir one; make_tree one/usr; cp -r one two; seq 1000000 2000000 > two/usr/more
                 objects_of two > expected; layout_of one layout1; layout_of two layout2; C='composefs --repo r'
                 $C init; sync; $C oci pull oci:layout1 --name one; readlink r/streams/refs/oci/one
                 $C oci pull oci:layout2 --name two > /dev/null 2>&1 & usleep 300000; kill -0 $!",
        after: "C='composefs --repo r'; $C fsck || fail 'it is damaged'
                [ \"$($C oci images --quiet)\" = one ] || fail \"other names: $($C oci images)\"
                [ \"$(readlink r/streams/refs/oci/one)\" = \"$SAID\" ] || fail 'another manifest'
                whole r/objects; $C oci pull oci:layout2 --name two || fail 'the pull does not go on'
                $C fsck || fail 'it is damaged afterwards'; whole r/objects; ! grep -vxFf objects expected",
        must_lose: false,
        losses: &[Loss::Some(7)],
    },
];

/// Functions that all scripts have. Digests are those of fsverity-utils and of the kernel, not our own.
const WORDS: &str = r#"
fail() { echo "$1" >&2; exit 1; }
make_tree() {
    mkdir $1 $1/many
    seq 1000000 > $1/large
    seq 400000 | (cd $1/many; split -l 2000 -a 3 - f)
}
# sha256:HEX PATH to the name of the object
names() { sed -E 's,^sha256:(..)([0-9a-f]{62}) .*,\1/\2,'; }
digest_of() { fsverity digest $1 | sed 's/^sha256://; s/ .*//'; }
objects_of() { find $1 -type f | xargs fsverity digest | names | sort; }
# LAYOUT FILE: moves the file into the layout as a blob; prints the digest and the size as members of a descriptor.
blob() {
    sum=$(sha256sum < $2 | cut -c 1-64); size=$(wc -c < $2); mv $2 $1/blobs/sha256/$sum
    echo "\"digest\":\"sha256:$sum\",\"size\":$size"
}
# TREE LAYOUT: makes an OCI layout of an image with one layer.
layout_of() {
    T=application/vnd.oci.image; mkdir -p $2/blobs/sha256; echo '{"imageLayoutVersion":"1.0.0"}' > $2/oci-layout
    tar -C $1 -cf layer .; layer=$(blob $2 layer); diff_id=$(echo $layer | cut -d '"' -f 4)
    echo "{\"architecture\":\"amd64\",\"os\":\"linux\",
        \"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"$diff_id\"]}}" > config
    config=$(blob $2 config)
    echo "{\"schemaVersion\":2,\"mediaType\":\"$T.manifest.v1+json\",
        \"config\":{\"mediaType\":\"$T.config.v1+json\",$config},
        \"layers\":[{\"mediaType\":\"$T.layer.v1.tar\",$layer}]}" > manifest
    manifest=$(blob $2 manifest)
    echo "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"$T.manifest.v1+json\",$manifest}]}" > $2/index.json
}
# Whether every object in a store is what its name says and has fs-verity; writes their list to ./objects.
whole() {
    (cd $1 && find . -type f | sed 's,^\./,,' | sort) > objects
    [ -s objects ] || return 0
    for how in digest measure; do
        (cd $1 && xargs fsverity $how) < objects | names | cmp - objects || fail "$1: $how of an object is not its name"
    done
}
"#;

/// One thing to be done, of many.
enum Job {
    Cut(&'static Scenario, Loss),
    Interrupted,
    Replay(replay::Workload, usize, u32),
}

impl Job {
    fn name(&self) -> String {
        match self {
            Job::Cut(scenario, loss) => format!("{} ({loss:?})", scenario.name),
            Job::Interrupted => INTERRUPTED.to_owned(),
            Job::Replay(replay::Workload::Ours, ..) => "a_repository_is_whole_at_every_instant".to_owned(),
            Job::Replay(replay::Workload::Wrong, ..) => "a_repository_published_wrongly_is_not".to_owned(),
        }
    }

    fn run(&self, programs: &Programs) -> Result<String> {
        match self {
            Job::Cut(scenario, loss) => cut(scenario, *loss, programs).map(|lost| format!("{lost} bytes lost")),
            Job::Interrupted => interrupted(programs),
            Job::Replay(workload, points, rounds) => replay::run(*workload, *points, *rounds, programs),
        }
    }
}

/// Runs the scenarios, two at a time.
pub(super) fn run(options: &Options) -> Result<Vec<Suite>> {
    let cuts = SCENARIOS.iter().flat_map(|scenario| scenario.losses.iter().map(move |&loss| Job::Cut(scenario, loss)));
    let wanted =
        |job: &Job| options.wants("power") && options.filter.as_ref().is_none_or(|part| job.name().contains(part));
    let (points, rounds) = if options.full { (520, 8) } else { (70, 2) };
    let replays = [
        Job::Replay(replay::Workload::Wrong, 12, 0),
        Job::Interrupted,
        Job::Replay(replay::Workload::Ours, points, rounds),
    ];
    // The last one is the first to be taken: it takes the longest.
    let jobs: Vec<_> = cuts.chain(replays).filter(wanted).collect();
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let programs = Programs::build()?;
    let start = Instant::now();
    let suite = Suite { kind: "power".into(), name: "cuts".into(), finished: true, ..Suite::default() };
    let (jobs, suite) = (Mutex::new(jobs), Mutex::new(suite));
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let work = || {
        while let Some(job) = next() {
            let outcome = job.run(&programs);
            let mut suite = suite.lock().unwrap_or_else(PoisonError::into_inner);
            match outcome {
                Ok(seen) => {
                    println!("power: {}: ok, {seen}", job.name());
                    suite.passed += 1;
                }
                Err(error) => {
                    println!("power: {}: {error:#}", job.name());
                    suite.failed += 1;
                    suite.failures.push(job.name());
                }
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
    let suite = suite.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(vec![Suite { took: start.elapsed(), ..suite }])
}

/// A machine whose disk stays, with the words of the scripts.
fn machine(disk: &Disk, programs: &Programs, script: &str) -> Result<Machine> {
    let script = format!("{WORDS}\n{script}");
    let mut machine = Machine::new(Kernel::Stable.fetch()?, &script)?.scratch(disk.clone());
    programs.install(machine.payload())?;
    for program in ["dd", "fsverity", "split"] {
        machine.payload().program(program)?;
    }
    Ok(machine)
}

/// The last line of what was printed.
fn last_line(stdout: &[u8]) -> String {
    String::from_utf8_lossy(stdout).trim_end().lines().next_back().unwrap_or_default().to_owned()
}

/// Cuts, boots again and judges; gives the number of bytes that were lost.
fn cut(scenario: &Scenario, loss: Loss, programs: &Programs) -> Result<u64> {
    let dir = tempfile::tempdir()?;
    let disk = Disk::Kept { file: dir.path().join("disk"), mib: 256 };
    let script = format!("set -e\n{}\necho '{MARKER}'\nsleep 60\n", scenario.before);
    let cut = machine(&disk, programs, &script)?.cut_power_at(MARKER, loss).run(&mut |_, _| {})?;
    let cut = cut.expect(End::PowerCut)?;
    let tally = cut.disk.context("no word of the disk")?;
    ensure!(tally.lost > 0 || !scenario.must_lose, "the cut proves nothing: {tally:?}");
    let kind = if loss == Loss::All { "All" } else { "Some" };
    let script = format!("LOSS={kind}\nSAID='{}'\n{}\n", last_line(&cut.stdout), scenario.after);
    machine(&disk, programs, &script)?.run(&mut |_, _| {})?.expect(End::Exited(0))?;
    Ok(tally.lost)
}

const INTERRUPTED: &str = "an_interrupted_build_leaves_nothing_half_done";
/// Number of cuts; the last one comes after the end, so that both outcomes are seen.
const CUTS: u32 = 6;

/// Two trees, the image of the first, and the digest and objects of the second; prints how many hundredths of a
/// second making it takes.
const PREPARE: &str = "set -e
make_tree old; make_tree new; echo changed >> new/large; objects_of new > expected
now() { sed 's/ .*//; s/[.]//' /proc/uptime; }
mkcomposefs old old.image; digest_of old.image > old.digest
start=$(now); mkcomposefs --digest-store=timed new new.image; end=$(now)
digest_of new.image > new.digest; rm -r timed new.image old
echo $((end - start))";

/// Checks the result of round `$N`; prints the state of its image and the number of objects.
const JUDGE: &str = r#"
if [ ! -e $N/image ]; then image=absent
elif digest_of $N/image | cmp -s - old.digest; then image=old
elif digest_of $N/image | cmp -s - new.digest; then image=new
else fail "round $N: the image is neither the old nor the new one"
fi
[ $image != absent ] || [ $((N % 2)) = 1 ] || fail "round $N: the old image is gone"
: > objects
[ ! -d $N/a/store ] || whole $N/a/store
grep -vxFf expected objects && fail "round $N: objects that no build made"
[ $image != new ] || cmp objects expected || fail "round $N: the new image is there before its objects"
echo "$image+$(wc -l < objects)"
rm -r $N
"#;

/// Cuts at moments spread over a build that replaces an image, or makes one, and its objects: the image is the old or
/// the new one, the new one only with all of its objects, and no object is half there.
fn interrupted(programs: &Programs) -> Result<String> {
    let dir = tempfile::tempdir()?;
    let disk = Disk::Kept { file: dir.path().join("disk"), mib: 256 };
    let prepared = machine(&disk, programs, PREPARE)?.run(&mut |_, _| {})?.expect(End::Exited(0))?;
    let hundredths: u32 = last_line(&prepared.stdout).parse().context("how long it took")?;
    let mut seen = Vec::new();
    for round in 0..=CUTS {
        let judge = if round > 0 { format!("N={}\n{JUDGE}", round - 1) } else { String::new() };
        if round == CUTS {
            let judged = machine(&disk, programs, &judge)?.run(&mut |_, _| {})?.expect(End::Exited(0))?;
            seen.push(last_line(&judged.stdout));
            break;
        }
        let loss = if round % 3 == 2 { Loss::Some(round.into()) } else { Loss::All };
        // From the start of the build on, over the time it takes; the last one when it has ended, however long it took.
        let pause = match round {
            last if last == CUTS - 1 => "wait".to_owned(),
            round => format!("usleep {}", hundredths * 10_000 * round / (CUTS - 2)),
        };
        let script = format!(
            "{judge}
             mkdir {round}; [ $(({round} % 2)) = 1 ] || cp old.image {round}/image; sync
             mkcomposefs --digest-store={round}/a/store new {round}/image & {pause}; echo '{MARKER}'; sleep 60"
        );
        let cut = machine(&disk, programs, &script)?.cut_power_at(MARKER, loss).run(&mut |_, _| {})?;
        let cut = cut.expect(End::PowerCut).with_context(|| format!("before the cut {round}"))?;
        seen.extend((round > 0).then(|| last_line(&cut.stdout)));
    }
    let seen_new = seen.iter().filter(|state| state.starts_with("new")).count();
    ensure!((1..seen.len()).contains(&seen_new), "the cuts prove nothing: {seen:?}");
    Ok(format!("a build of {} ms cut {CUTS} times; image and objects left: {}", hundredths * 10, seen.join(", ")))
}
