//! composefs for Rust programs: images, object stores, repositories and mounts.
//!
//! A composefs **image** is a small EROFS file with the names and metadata of a directory tree. The contents of the
//! files are **objects**: one file for each distinct content, in an object store, named by its fs-verity digest. The
//! kernel joins both in a mount and, with fs-verity, checks each read. The digest of the image covers everything in it.
//!
//! This crate re-exports the types of the libraries of this project that a program needs most. Each library is also
//! available as a module: [`image`], [`content`], [`scan`], [`store`], [`repo`], [`mount`] and [`ostree`].
//!
//! # Terms
//!
//! | term | meaning | type |
//! |---|---|---|
//! | digest | fs-verity digest, SHA-256 or SHA-512, over blocks of 4096 bytes | [`Digest`], [`Algorithm`] |
//! | tree | a file system tree in memory, sorted | [`Tree`], [`TreeBuilder`] |
//! | dump | a tree as text, a line for each entry | [`image::dump`] |
//! | image | a tree as EROFS file | [`Image`] to write, [`ImageReader`] and [`View`] to read |
//! | object | a file named by its digest | [`ObjectDir`] to write, [`Basedirs`] to read |
//! | repository | images, their objects and their names, shared by processes and users | [`Repository`] |
//! | ref | a name of an image in a repository | [`RefName`] |
//! | lease | file that protects what a process relies on from the garbage collector | [`repo::Lease`] |
//! | role | reading, adding to or collecting a repository, each with its lease or lock | [`repo::Reader`], [`Transaction`], [`Collector`] |
//! | plan | a mount as data, before the kernel is asked | [`mount::Plan`] |
//!
//! # Trust
//!
//! * Images, dumps, bundles and ostree objects are hostile input: readers check every offset, length and count, and
//!   return errors. A panic is a bug.
//! * An object is never trusted for its name: fs-verity vouches for it, or it is read and compared with its digest.
//! * Without `digest=` a mount trusts the image file. With it, the kernel measures the very file that is mounted.
//! * Scans and extractions follow no symlinks and stay below the directory that they are given, also while others
//!   rename things in it.
//!
//! `SECURITY.md` of the project states what is promised and against whom.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `mount` | yes | [`mount`]: mounting; needs the mount system calls of Linux |
//! | `ostree` | yes | [`ostree`]: reading ostree repositories |
//!
//! Nothing here is async, prints, or reads the environment. Progress is reported to a [`Progress`]; [`NoProgress`]
//! ignores it.
//!
//! # Examples
//!
//! ## Build an image from a directory
//!
//! [`scan()`](scan::scan) reads the directory once: file contents go to the sink, here an object store, everything else
//! into the tree.
//!
//! ```
//! use libcomposefs::scan::{Options, scan};
//! use libcomposefs::store::{StorePolicy, publish::replace_file};
//! use libcomposefs::{Algorithm, Image, NoProgress, ObjectDir, Versions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path();
//! std::fs::create_dir(dir.join("rootfs"))?;
//! std::fs::write(dir.join("rootfs/file"), "content ".repeat(100))?;
//!
//! let store = ObjectDir::create(&dir.join("objects"), Algorithm::Sha256, StorePolicy::default())?;
//! let batch = store.batch();
//! let tree = scan(&dir.join("rootfs"), &Options::default(), &batch, &NoProgress)?;
//! // Objects are on disk before the image that names them exists.
//! batch.finish()?;
//!
//! let image = Image::plan(&tree, Versions::default())?;
//! let threads = Options::default().thread_count();
//! let (_, digest) = replace_file(&dir.join("rootfs.img"), 0o666, |file| {
//!     image.write_and_digest(Algorithm::Sha256, threads, file).map_err(Box::<dyn std::error::Error>::from)
//! })?;
//! assert_eq!(digest, image.digest(Algorithm::Sha256));
//! # Ok(())
//! # }
//! ```
//!
//! ## Open an image and list it
//!
//! [`View`] shows an image as a mount does, without reading more of it than is asked for.
//!
//! ```
//! use libcomposefs::image::dump::{self, Parser};
//! use libcomposefs::{Image, ImageReader, Versions, View};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut parser = Parser::new(dump::Options::default());
//! parser.push_line(b"/ 0 40755 2 0 0 0 0.0 - - -")?;
//! parser.push_line(b"/motd 6 100644 1 0 0 0 0.0 - hello\\n -")?;
//! let tree = parser.finish()?.tree;
//! let mut bytes = Vec::new();
//! Image::plan(&tree, Versions::default())?.write(&mut bytes)?;
//!
//! let reader = ImageReader::new(&bytes)?;
//! let view = View::new(&reader);
//! for child in view.children(&view.root()?)? {
//!     let child = child?;
//!     println!("{:o} {}", child.node.mode(), String::from_utf8_lossy(child.name));
//! #   assert_eq!(child.name, b"motd");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! ## Put an object into a store and read it
//!
//! ```
//! use libcomposefs::store::{ObjectError, StorePolicy};
//! use libcomposefs::{Algorithm, Basedirs, ObjectDir};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let objects = dir.path().join("objects");
//! let store = ObjectDir::create(&objects, Algorithm::Sha256, StorePolicy::default())?;
//! let batch = store.batch();
//! let (digest, _) = batch.put_bytes(b"content")?;
//! // Only now the object has its name, and is on disk.
//! batch.finish()?;
//!
//! let object = Basedirs::open(&[&objects])?.open_object(digest.object_path().as_bytes())?;
//! let mut content = Vec::new();
//! object.copy_verified(&digest, |piece| {
//!     content.extend_from_slice(piece);
//!     Ok::<(), ObjectError>(())
//! })?;
//! assert_eq!(content, b"content");
//! # Ok(())
//! # }
//! ```
//!
//! ## Create, tag and collect in a repository
//!
//! ```
//! use std::time::Duration;
//!
//! use libcomposefs::repo::{Format, GcOptions, ImageName, Settings};
//! use libcomposefs::{Algorithm, NoProgress, RefName, Repository, scan};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let (path, rootfs) = (dir.path().join("repository"), dir.path().join("rootfs"));
//! # std::fs::create_dir(&rootfs)?;
//! // `demands_verity: true` where the file system has fs-verity.
//! let settings = Settings { algorithm: Algorithm::Sha256, demands_verity: false, format: Format::Auto };
//! let (repository, _) = Repository::init(&path, settings)?;
//!
//! // commit() publishes objects first, then images, then names. A transaction that is dropped publishes nothing.
//! let mut transaction = repository.transaction()?;
//! let tree = transaction.scan(&rootfs, &scan::Options::default(), &NoProgress)?;
//! let image = repository.meta().format.plan(&tree)?;
//! let digest = transaction.add_image(&tree, &image, vec![RefName::new("debian/13")?])?;
//! transaction.commit()?;
//!
//! repository.tag(&ImageName::Digest(digest), &RefName::new("latest")?)?;
//! repository.untag(&RefName::new("debian/13")?)?;
//!
//! // `latest` still names the image.
//! let options = GcOptions { grace: Duration::ZERO, dry_run: false };
//! let report = repository.collector(options)?.mark()?.sweep()?;
//! assert_eq!((report.images_kept, report.removed_images.len()), (1, 0));
//!
//! // The image stays while it is read, also if another process removes its name and collects.
//! let reader = repository.reader()?;
//! let (found, _file) = reader.open_named(&"latest".parse()?)?;
//! assert_eq!(found, digest);
//! # Ok(())
//! # }
//! ```
//!
//! ## Plan a mount and mount it
//!
//! ```no_run
//! # #[cfg(feature = "mount")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::path::Path;
//!
//! use libcomposefs::Digest;
//! use libcomposefs::mount::{ImageFile, KernelFeatures, Options, Plan};
//!
//! let digest = Digest::from_hex("cc3da5b14909626fc99443f580e4d8c9b990e85e0a1d18883dc89b23d43e173f")?;
//! let options = Options::default().with_basedir("objects").with_digest(digest);
//! let image = ImageFile::open(Path::new("rootfs.img"))?;
//! let plan = Plan::new(image.path(), &image.header()?, options);
//! println!("{plan}");
//! // The mount is a descriptor until it is attached.
//! let mount = plan.mount(&image, KernelFeatures::default())?;
//! println!("{}", mount.report());
//! mount.attach(Path::new("/mnt"))?;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "mount"))]
//! # fn main() {}
//! ```
//!
//! ## Read an ostree commit into a tree
//!
//! ```no_run
//! # #[cfg(feature = "ostree")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::path::Path;
//!
//! use libcomposefs::ostree::{CommitPlan, ContentUse, Payloads, Repo, gather};
//! use libcomposefs::{Algorithm, Image, NoProgress, Versions, content::thread_count};
//!
//! let repo = Repo::open(Path::new("/ostree/repo"))?;
//! let commit = repo.commit(&repo.resolve("fedora/stable")?)?;
//! let plan = CommitPlan::of(&repo, &commit)?;
//! let content = ContentUse::Digest(Algorithm::Sha256);
//! let gathered = gather(&repo, plan.contents(), content, thread_count(None), &NoProgress)?;
//! let tree = plan.tree(&gathered, Payloads::Ostree, Algorithm::Sha256)?;
//! println!("{}", Image::plan(&tree, Versions::default())?.digest(Algorithm::Sha256));
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "ostree"))]
//! # fn main() {}
//! ```
#![forbid(unsafe_code)]

pub use libcomposefs_content as content;
pub use libcomposefs_image as image;
#[cfg(feature = "mount")]
pub use libcomposefs_mount as mount;
#[cfg(feature = "ostree")]
pub use libcomposefs_ostree as ostree;
pub use libcomposefs_repo as repo;
pub use libcomposefs_scan as scan;
pub use libcomposefs_store as store;

pub use libcomposefs_content::{ContentSink, NoProgress, Progress};
pub use libcomposefs_image::erofs::read::{ImageReader, View};
pub use libcomposefs_image::erofs::{Image, Versions};
pub use libcomposefs_image::tree::{Tree, TreeBuilder};
pub use libcomposefs_image::{Algorithm, Digest};
pub use libcomposefs_repo::{Collector, ImageName, RefName, Repository, Transaction};
pub use libcomposefs_store::{Basedirs, ObjectDir};
