//! A request of the kernel, and what the image server answers. The first bytes say how many of the rest are an image;
//! what follows are requests, one after the other.
#![no_main]

use composefs_fuzz::{Budget, Linear};
use libcomposefs_fuse::protocol::{DirectoryBuffer, InitReply, Operation, Request};
use libcomposefs_fuse::{ImageOptions, ImageServer, ObjectContents, ServedFileSystem, Trust};
use libcomposefs_image::erofs::read::ImageReader;
use libfuzzer_sys::fuzz_target;

// A reply has at most 64 KiB here, and its buffer doubles until then. Each request may list a whole directory.
static FUSE: Budget =
    Budget::new("FUSE requests", Linear { base: 256 << 10, per_byte: 32 }, Linear { base: 5_000_000, per_byte: 5_000 });

fuzz_target!(|input: &[u8]| {
    let Some((len, rest)) = input.split_first_chunk::<2>() else { return };
    let (image, requests) = rest.split_at(usize::from(u16::from_le_bytes(*len)).min(rest.len()));
    FUSE.check(input.len(), || {
        let server = server(image);
        let mut rest = requests;
        while rest.len() >= 40 {
            let said = rest.first_chunk().map_or(0, |len| u32::from_le_bytes(*len) as usize);
            let (request, after) = rest.split_at(said.clamp(1, rest.len()));
            if let Ok(request) = Request::parse(request) {
                answer(server.as_ref(), &request);
            }
            rest = after;
        }
    });
});

fn server(image: &[u8]) -> Option<ImageServer<'_>> {
    let reader = ImageReader::new(image).ok()?;
    let objects = ObjectContents::open::<&str>(&[], Trust::Verify).ok()?;
    ImageServer::new(reader, objects, ImageOptions::default()).ok()
}

fn answer(server: Option<&ImageServer<'_>>, request: &Request<'_>) {
    let (node, mut out) = (request.node, Vec::new());
    if let Operation::Init(init) = &request.operation
        && let Some(reply) = InitReply::new(init, Default::default())
    {
        reply.put(&mut out);
        assert_eq!(out.len(), 64);
    }
    let Some(server) = server else { return };
    match request.operation {
        Operation::Lookup { name } => drop(server.lookup(node, name)),
        Operation::GetAttr => drop(server.attributes(node)),
        Operation::ReadLink => drop(server.read_link(node, &mut out)),
        Operation::Read { offset, size } => {
            let mut buffer = Vec::new();
            drop(server.read(node, offset, size.min(1 << 16), &mut buffer));
        }
        Operation::GetXattr { name, .. } => drop(server.xattr(node, name, &mut out)),
        Operation::ListXattr { .. } => drop(server.xattr_names(node, request.user, &mut out)),
        Operation::StatFs => drop(server.statistics()),
        Operation::ReadDir { position, size, plus } => {
            let size = size.min(1 << 16) as usize;
            let mut names = DirectoryBuffer::new(&mut out, size, plus);
            let _ = server.read_directory(node, position, &mut names);
            assert!(out.len() <= size);
        }
        _ => {}
    }
}
