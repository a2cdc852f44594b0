//! Connections to servers: opened, read, and written to.

use super::socket::Socket;
use super::{Plane, READS_MAX, SCRATCH, Whose, find, list, now, put};
use crate::core::Key;
use backstay_model::{Epoch, ServiceName};
use mio::net::TcpStream;
use rustls::ClientConnection;
use std::io::ErrorKind;
use std::net::SocketAddr;

impl<F: FnMut(ServiceName, Epoch)> Plane<F> {
    pub(super) fn connect(
        &mut self,
        link: Key,
        endpoint: usize,
        address: SocketAddr,
        host: &str,
    ) -> Result<(), String> {
        let stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
        let mut socket = Socket::tcp(stream);
        socket.connecting = true;
        if let Some((tls, name)) = &self.backends[endpoint].tls {
            let name = name.clone().unwrap_or_else(|| host.to_owned());
            let name = name.try_into().map_err(|_| "the server's host is not a name for TLS".to_owned())?;
            let tls = ClientConnection::new(tls.clone(), name).map_err(|error| error.to_string())?;
            socket = socket.with_client_tls(tls);
        }
        socket
            .register(self.poll.registry(), Whose::Link(link).token())
            .map_err(|error| error.to_string())?;
        put(&mut self.links, link, socket);
        Ok(())
    }

    pub(super) fn read_link(&mut self, key: Key) {
        for _ in 0..READS_MAX {
            let Some(socket) = find(&mut self.links, key) else {
                return;
            };
            if !socket.readable {
                return;
            }
            match socket.read(&mut self.scratch) {
                Ok(0) => {
                    self.core.link_lost(key, "the server closed the connection");
                    return self.act();
                }
                Ok(read) => {
                    socket.readable = read == SCRATCH || !socket.tells_when_empty();
                    // The lease must still last now that the reply has been read.
                    self.core.set_now(now());
                    self.core.link_read(key, &self.scratch[..read]);
                    self.act();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => socket.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.core.link_lost(key, &error.to_string());
                    return self.act();
                }
            }
        }
        list(&mut self.links_again, &mut self.links, key);
    }

    pub(super) fn flush_link(&mut self, key: Key) {
        while let (Some((output, sent)), Some(socket)) =
            (self.core.link_output(key), find(&mut self.links, key))
        {
            if sent == output.len() {
                let _ = socket.flush();
                return;
            }
            match socket.write(&output[sent..]) {
                Ok(written) => self.core.link_wrote(key, written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.core.link_lost(key, &error.to_string());
                    return self.act();
                }
            }
        }
    }
}
