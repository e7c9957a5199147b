//! Pull of a large image from a web server over a slow link, beside a download of the same bytes in one file.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use libcomposefs_testkit::slow_link::{LinkSpeed, SlowLink};

use crate::Setting;
use crate::report::Report;

/// Delay of each direction.
const DELAY: Duration = Duration::from_millis(25);
/// Bytes per second of each direction: 100 Mbit.
const RATE: u64 = 12_500_000;
/// Number of runs.
const ROUNDS: usize = 3;
/// The time of the pull over that of the download that is wanted at most.
const WANTED: f64 = 1.2;

pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    report.heading("Pull from a web server 50 ms away, 100 Mbit/s");
    let tree = setting.trees.last().context("no tree is given")?;
    let place = setting.scratch.join("remote");
    let (remote, whole, from) = (place.join("www/remote"), place.join("www/whole"), place.join("from"));
    fs::create_dir_all(place.join("www"))?;
    composefs(setting, &from, &["init", "--insecure"])?;
    composefs(setting, &from, &["create", "--name=image", &tree.display().to_string()])?;
    composefs(setting, &from, &["push", "image", &remote.display().to_string()])?;
    let bytes = join(&remote, &mut File::create(&whole)?)?;
    let objects = count(&from.join("objects"))?;
    fs::remove_dir_all(&from)?;
    let (nginx, port) = nginx(&place)?;
    let _nginx = Ends(nginx);
    println!("| what | seconds | bytes over the link | connections |");
    println!("|---|---|---|---|");
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        let link = SlowLink::start(port, LinkSpeed::new(DELAY, Some(RATE)));
        let download = download(link.port, bytes, &place.join("downloaded"))?;
        println!("| one file | {download:.2} | {} | {} |", link.bytes_to_client(), link.connections());
        let link = SlowLink::start(port, LinkSpeed::new(DELAY, Some(RATE)));
        let to = place.join(format!("to{round}"));
        composefs(setting, &to, &["init", "--insecure"])?;
        let start = Instant::now();
        composefs(setting, &to, &["pull", &format!("http://127.0.0.1:{}/remote", link.port), "image"])?;
        let pull = start.elapsed().as_secs_f64();
        println!("| composefs pull | {pull:.2} | {} | {} |", link.bytes_to_client(), link.connections());
        ratios.push(download / pull);
        fs::remove_dir_all(&to)?;
    }
    println!("\n{objects} objects, {bytes} bytes in the remote\n");
    ratios.sort_by(f64::total_cmp);
    let median = ratios.get(ROUNDS / 2).copied().context("no round")?;
    report.goal("time of a download over that of the pull", median, 1.0 / WANTED);
    Ok(())
}

fn composefs(setting: &Setting, repository: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(&setting.composefs);
    command.arg("--repo").arg(repository).args(arguments).stdin(Stdio::null());
    let output = command.output().context("cannot run composefs")?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Writes all files below a directory into one, and returns its length.
fn join(directory: &Path, whole: &mut File) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() {
            join(&entry.path(), whole)?
        } else {
            io::copy(&mut File::open(entry.path())?, whole)?
        };
    }
    Ok(bytes)
}

fn count(directory: &Path) -> Result<usize> {
    let mut files = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        files += if entry.file_type()?.is_dir() { count(&entry.path())? } else { 1 };
    }
    Ok(files)
}

/// Downloads the file `whole`, and returns the seconds until it is on the disk.
fn download(port: u16, bytes: u64, to: &Path) -> Result<f64> {
    let start = Instant::now();
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"GET /whole HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        ensure!(reader.read_line(&mut line)? > 0, "nginx sends no head");
    }
    let mut file = File::create(to)?;
    let received = io::copy(&mut reader, &mut file)?;
    file.sync_all()?;
    ensure!(received == bytes, "{received} bytes of {bytes} were received");
    Ok(start.elapsed().as_secs_f64())
}

/// A program that ends with the value.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

/// Starts nginx with the files below `www`.
fn nginx(place: &Path) -> Result<(Child, u16)> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let place = place.canonicalize()?;
    let home = place.display();
    let temporary: Vec<_> = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {home}/{kind};"))
        .collect();
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let text = format!(
        "{user} daemon off; master_process off; pid {home}/pid; error_log {home}/log;\nevents {{ }}\n\
         http {{ access_log off; sendfile on; {}\nserver {{ listen 127.0.0.1:{port}; root {home}/www; }} }}\n",
        temporary.join(" ")
    );
    let config = place.join("nginx.conf");
    fs::write(&config, text)?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(&place).arg("-c").arg(&config).stdin(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().context("nginx is not installed: run `cargo xtask setup`")?;
    for _ in 0..500 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok((child, port));
        }
        thread::sleep(Duration::from_millis(20));
    }
    drop(Ends(child));
    bail!("nginx does not answer: {}", fs::read_to_string(place.join("log")).unwrap_or_default())
}
