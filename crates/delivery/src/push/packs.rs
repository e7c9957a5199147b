//! Objects are compressed into packs, which are sent while the next ones are made.

use std::io;
use std::ops::AddAssign;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use libcomposefs_content::mutex::{into_inner, lock};
use libcomposefs_delta::{
    BaseChoice, Coder, EncodeOptions, FramePlan, NamedObject, ReadAt, SpoolFile, choose, encode_frames, plan_frames,
};
use libcomposefs_image::Digest;
use libcomposefs_repo::bundle::VerifiedObjects;

use super::DeliveryPushOptions;
use super::builder::IndexBuilder;
use crate::pack_writer::{FinishedPack, PackWriter, PackedFrame};
use crate::remote::Remote;
use crate::{DeliveryError, FileEntry, FileName};

/// Number of packs that are sent at once.
const SENDERS: usize = 2;

/// What was sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SentFiles {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

impl AddAssign for SentFiles {
    fn add_assign(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
    }
}

/// The packs that the remote has, with their numbers and frames.
#[derive(Default)]
struct SentPacks {
    packs: Vec<(usize, FileEntry, Vec<PackedFrame>)>,
    files: SentFiles,
}

/// Compresses objects and sends the packs.
pub(super) struct PackSender<'a> {
    pub(super) remote: &'a Remote<'a>,
    pub(super) options: &'a DeliveryPushOptions<'a>,
    pub(super) objects: &'a VerifiedObjects<'a>,
}

impl PackSender<'_> {
    /// Sends objects that need no others.
    pub(super) fn send_whole(
        &self,
        missing: &[NamedObject],
        builder: &mut IndexBuilder,
    ) -> Result<SentFiles, DeliveryError> {
        let choice = |object: &NamedObject| BaseChoice { object: object.clone(), base: None };
        let plans = plan_frames(&missing.iter().map(choice).collect::<Vec<_>>());
        self.send(&plans, builder, true)
    }

    /// Sends objects, and the image, as differences from objects of older images.
    pub(super) fn send_deltas(
        &self,
        needed: &[NamedObject],
        old: &[NamedObject],
        image: (Digest, u64),
        images: &[(Digest, u64)],
        builder: &mut IndexBuilder,
    ) -> Result<SentFiles, DeliveryError> {
        let mut choices = choose(needed, old, &mut |_, _| true);
        choices.retain(|choice| choice.base.is_some());
        let mut plans = plan_frames(&choices);
        let bases = images.iter().filter(|base| base.0 != image.0);
        if let Some(closest) = bases.min_by_key(|base| base.1.abs_diff(image.1)) {
            plans.push(FramePlan { objects: vec![image], bases: vec![*closest] });
        }
        self.send(&plans, builder, false)
    }

    /// Sends packs with frames, those without bases or only those with bases.
    fn send(
        &self,
        plans: &[FramePlan],
        builder: &mut IndexBuilder,
        is_whole: bool,
    ) -> Result<SentFiles, DeliveryError> {
        if plans.is_empty() {
            return Ok(SentFiles::default());
        }
        let failed = Mutex::new(None);
        let sent = Mutex::new(SentPacks::default());
        let (sender, receiver) = sync_channel(0);
        let receiver = Mutex::new(receiver);
        let encoded = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..SENDERS)
                .map(|_| {
                    scope.spawn(|| {
                        if let Err(error) = self.send_all(&receiver, &sent) {
                            lock(&failed).get_or_insert(error);
                            // Ends the encoder, whose packs nothing takes any more.
                            drop(std::mem::replace(&mut *lock(&receiver), sync_channel(0).1));
                        }
                    })
                })
                .collect();
            let encoded = self.encode(plans, sender, is_whole);
            handles.into_iter().for_each(|handle| drop(handle.join()));
            encoded
        });
        if let Some(error) = into_inner(failed) {
            return Err(error);
        }
        encoded?;
        let SentPacks { mut packs, files } = into_inner(sent);
        packs.sort_by_key(|pack| pack.0);
        packs.iter().for_each(|(_, entry, frames)| builder.add_pack(entry, frames));
        Ok(files)
    }

    /// Compresses all frames, and passes each pack on.
    fn encode(
        &self,
        plans: &[FramePlan],
        sender: SyncSender<(usize, FinishedPack)>,
        is_whole: bool,
    ) -> Result<(), DeliveryError> {
        let DeliveryPushOptions { effort, threads, make_file, progress, .. } = *self.options;
        let spool = || -> io::Result<Box<dyn SpoolFile>> { Ok(Box::new(make_file()?)) };
        let open = |digest: &Digest| -> io::Result<Box<dyn ReadAt>> {
            Ok(Box::new(self.objects.open(digest).map_err(io::Error::other)?))
        };
        let mut writer = PackWriter::new(make_file);
        let mut number = 0;
        let mut pass_on = |pack: FinishedPack| {
            number += 1;
            sender.send((number, pack)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
        };
        let options = EncodeOptions { effort, threads, spool: Some(&spool) };
        let encoded = encode_frames(plans, &options, &open, &mut |frame, bytes| {
            self.remote.patience().proceed().map_err(io::Error::other)?;
            progress.bytes(frame.objects.iter().map(|(_, size)| size).sum());
            // A delta that is no smaller than the object itself is not one.
            let is_delta = !frame.bases.is_empty() && !matches!(frame.coder, Coder::Stored | Coder::Zstd);
            if is_whole == is_delta {
                return Ok(());
            }
            writer.add(frame, bytes)?.map_or(Ok(()), &mut pass_on)
        });
        let finished = encoded.and_then(|()| writer.finish()?.map_or(Ok(()), &mut pass_on));
        finished.map_err(|error| match error.downcast::<DeliveryError>() {
            Ok(error) => error,
            Err(error) => match error.downcast() {
                Ok(error) => DeliveryError::Repository(error),
                Err(error) => DeliveryError::Encode(error),
            },
        })
    }

    /// Sends packs until there are no more.
    fn send_all(
        &self,
        receiver: &Mutex<Receiver<(usize, FinishedPack)>>,
        sent: &Mutex<SentPacks>,
    ) -> Result<(), DeliveryError> {
        loop {
            let next = lock(receiver).recv();
            let Ok((number, mut pack)) = next else { return Ok(()) };
            let name = FileName::Pack(pack.entry.sha256);
            let is_new = self.remote.send_file(&name, &mut pack.file)?;
            let mut sent = lock(sent);
            if is_new {
                sent.files += SentFiles { files: 1, bytes: pack.entry.size };
            }
            sent.packs.push((number, pack.entry, pack.frames));
        }
    }
}
