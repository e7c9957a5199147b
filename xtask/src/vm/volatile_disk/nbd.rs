//! The network block device protocol, as far as one qemu speaks it (<https://github.com/NetworkBlockDevice/nbd>,
//! `doc/proto.md`): fixed newstyle negotiation, then simple replies.
#![expect(clippy::big_endian_bytes, reason = "the protocol is big-endian")]

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use super::SECTOR;

const SERVER_MAGIC: u64 = 0x4e42_444d_4147_4943;
const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const FIXED_NEWSTYLE: u16 = 1;
const NO_ZEROES: u16 = 2;

const OPT_EXPORT_NAME: u32 = 1;
const OPT_ABORT: u32 = 2;
const OPT_GO: u32 = 7;
const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const REP_ERR_UNSUP: u32 = (1 << 31) + 1;
const INFO_EXPORT: u16 = 0;
const INFO_BLOCK_SIZE: u16 = 3;

const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;
/// Has flags, takes flushes, takes durable writes.
const EXPORT_FLAGS: u16 = 1 | 4 | 8;
const REQUEST_FUA: u16 = 1;
const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;
const LARGEST_REQUEST: u32 = 32 << 20;

const EIO: u32 = 5;
const EINVAL: u32 = 22;

/// A disk to serve: whole sectors within its length.
pub(crate) trait Device: Send {
    fn len(&self) -> u64;
    fn read(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()>;
    /// `durable`: on the medium when this returns.
    fn write(&mut self, offset: u64, data: &[u8], durable: bool) -> io::Result<()>;
    fn flush(&mut self) -> io::Result<()>;
}

/// Serves one client until it goes. A client that just vanishes has been killed, which is what this is for.
pub(super) fn serve(mut client: UnixStream, medium: &Mutex<impl Device>) -> io::Result<()> {
    let len = medium.lock().unwrap_or_else(PoisonError::into_inner).len();
    let served = negotiate(&mut client, len).and_then(|open| if open { transmit(&mut client, medium) } else { Ok(()) });
    match served {
        Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
        other => other,
    }
}

/// Agrees on the export; false if the client wants none.
fn negotiate(client: &mut (impl Read + Write), len: u64) -> io::Result<bool> {
    client.write_all(&SERVER_MAGIC.to_be_bytes())?;
    client.write_all(&OPTION_MAGIC.to_be_bytes())?;
    client.write_all(&(FIXED_NEWSTYLE | NO_ZEROES).to_be_bytes())?;
    let no_zeroes = u32::from_be_bytes(read(client)?) & u32::from(NO_ZEROES) != 0;
    loop {
        expect(u64::from_be_bytes(read(client)?) == OPTION_MAGIC)?;
        let option = u32::from_be_bytes(read(client)?);
        let data_len = u32::from_be_bytes(read(client)?);
        expect(data_len <= 4096)?;
        client.read_exact(&mut vec![0; data_len as usize])?;
        match option {
            OPT_EXPORT_NAME => {
                client.write_all(&[&len.to_be_bytes()[..], &EXPORT_FLAGS.to_be_bytes()].concat())?;
                client.write_all(&[0; 124][..if no_zeroes { 0 } else { 124 }])?;
                return Ok(true);
            }
            OPT_GO => {
                let flags = EXPORT_FLAGS.to_be_bytes();
                let export = [&INFO_EXPORT.to_be_bytes()[..], &len.to_be_bytes(), &flags].concat();
                reply_option(client, option, REP_INFO, &export)?;
                let sizes = [SECTOR as u32, 4096, LARGEST_REQUEST].map(u32::to_be_bytes).concat();
                reply_option(client, option, REP_INFO, &[&INFO_BLOCK_SIZE.to_be_bytes()[..], &sizes].concat())?;
                reply_option(client, option, REP_ACK, &[])?;
                return Ok(true);
            }
            OPT_ABORT => {
                reply_option(client, option, REP_ACK, &[])?;
                return Ok(false);
            }
            _ => reply_option(client, option, REP_ERR_UNSUP, &[])?,
        }
    }
}

fn reply_option(client: &mut impl Write, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
    let words = [option, kind, data.len() as u32].map(u32::to_be_bytes).concat();
    client.write_all(&[&OPTION_REPLY_MAGIC.to_be_bytes()[..], &words, data].concat())
}

fn transmit(client: &mut (impl Read + Write), medium: &Mutex<impl Device>) -> io::Result<()> {
    loop {
        expect(u32::from_be_bytes(read(client)?) == REQUEST_MAGIC)?;
        let flags = u16::from_be_bytes(read(client)?);
        let command = u16::from_be_bytes(read(client)?);
        let cookie: [u8; 8] = read(client)?;
        let offset = u64::from_be_bytes(read(client)?);
        let len = u32::from_be_bytes(read(client)?);
        expect(len <= LARGEST_REQUEST)?;
        let mut data = vec![0; if matches!(command, READ | WRITE) { len as usize } else { 0 }];
        if command == WRITE {
            client.read_exact(&mut data)?;
        }
        let mut medium = medium.lock().unwrap_or_else(PoisonError::into_inner);
        let done = match command {
            READ => medium.read(offset, &mut data),
            WRITE => medium.write(offset, &data, flags & REQUEST_FUA != 0),
            FLUSH => medium.flush(),
            DISCONNECT => return Ok(()),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        };
        drop(medium);
        let error = match &done {
            Ok(()) => 0,
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => EINVAL,
            Err(_) => EIO,
        };
        client.write_all(&[&REPLY_MAGIC.to_be_bytes()[..], &error.to_be_bytes(), &cookie].concat())?;
        if command == READ && done.is_ok() {
            client.write_all(&data)?;
        }
    }
}

fn read<const N: usize>(client: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    client.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn expect(holds: bool) -> io::Result<()> {
    if holds { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidData, "not what the protocol allows here")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::volatile_disk::Medium;

    fn request(command: u16, flags: u16, offset: u64, len: u32, data: &[u8]) -> Vec<u8> {
        let head = [&REQUEST_MAGIC.to_be_bytes()[..], &flags.to_be_bytes(), &command.to_be_bytes(), b"COOKIE42"];
        [head.concat(), offset.to_be_bytes().to_vec(), len.to_be_bytes().to_vec(), data.to_vec()].concat()
    }

    fn answer(client: &mut UnixStream) -> u32 {
        assert_eq!(u32::from_be_bytes(read(client).unwrap()), REPLY_MAGIC);
        let error = u32::from_be_bytes(read(client).unwrap());
        assert_eq!(&read::<8>(client).unwrap(), b"COOKIE42");
        error
    }

    #[test]
    fn a_session() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(4096).unwrap();
        let medium = Mutex::new(Medium::open(file.path()).unwrap());
        let (mut client, server) = UnixStream::pair().unwrap();
        std::thread::scope(|scope| {
            let served = scope.spawn(|| serve(server, &medium));
            read::<18>(&mut client).unwrap();
            client.write_all(&3u32.to_be_bytes()).unwrap();
            // An unknown option is refused and does no harm.
            for (option, len) in [(99u32, 20), (OPT_GO, 20 + 12 + 20 + 14 + 20)] {
                client.write_all(&OPTION_MAGIC.to_be_bytes()).unwrap();
                client.write_all(&[option.to_be_bytes(), [0; 4]].concat()).unwrap();
                client.read_exact(&mut vec![0; len]).unwrap();
            }
            client.write_all(&request(WRITE, 0, 512, 512, &[9; 512])).unwrap();
            assert_eq!(answer(&mut client), 0);
            client.write_all(&request(READ, 0, 0, 1024, &[])).unwrap();
            assert_eq!(answer(&mut client), 0);
            assert_eq!(read::<1024>(&mut client).unwrap(), [[0; 512], [9; 512]].concat()[..]);
            assert_eq!(std::fs::read(file.path()).unwrap(), [0; 4096]);
            client.write_all(&request(FLUSH, 0, 0, 0, &[])).unwrap();
            assert_eq!(answer(&mut client), 0);
            assert_eq!(std::fs::read(file.path()).unwrap()[512..1024], [9; 512]);
            client.write_all(&request(READ, 0, 4096, 512, &[])).unwrap();
            assert_eq!(answer(&mut client), EINVAL);
            drop(client);
            served.join().unwrap().unwrap();
        });
    }
}
