//! Passing one file descriptor with a message (SCM_RIGHTS), for what is larger than a message may be.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::limits::DESCRIPTORS;

/// Receives bytes and, where one came with them, a descriptor (close-on-exec). Never waits: `WouldBlock` when nothing
/// is there. Of more descriptors than [`DESCRIPTORS`] the rest is closed.
///
/// # Errors
/// Those of recvmsg(2).
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(buffer)],
        &mut ancillary,
        flags,
    )?;
    let mut descriptors = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    Ok((
        received.bytes,
        descriptors.next().and_then(|mut several| several.next()),
    ))
}

/// Sends bytes, a descriptor with the first of them. Never waits, raises no SIGPIPE.
pub(crate) fn send(
    socket: impl AsFd,
    bytes: &[u8],
    descriptor: BorrowedFd<'_>,
) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(
        socket,
        &[IoSlice::new(bytes)],
        &mut ancillary,
        SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Seek, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_descriptor_arrives_with_its_bytes_and_names_the_same_file() {
        let (here, there) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"bundle").unwrap();
        file.rewind().unwrap();
        assert_eq!(send(&here, b"{}\0", file.as_fd()).unwrap(), 3);
        let mut buffer = [0; 16];
        let (length, descriptor) = receive(&there, &mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"{}\0");
        let mut text = String::new();
        File::from(descriptor.unwrap())
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "bundle");
    }

    #[test]
    fn receiving_never_waits() {
        let (_here, there) = UnixStream::pair().unwrap();
        assert_eq!(
            receive(&there, &mut [0; 16]).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
    }
}
