//! The sockets of one pair.

use crate::core::Key;
use crate::plane::socket::Socket;
use crate::sql::exchange::Side;

/// See the module's head. They are found by the number of their pair.
pub(super) struct Ends {
    pub(super) client: Socket,
    pub(super) server: Option<Socket>,
}

impl Ends {
    pub(super) const fn get(&mut self, side: Side) -> Option<&mut Socket> {
        match side {
            Side::Client => Some(&mut self.client),
            Side::Server => self.server.as_mut(),
        }
    }

    /// The socket of a side, and that of the other one, if there is one.
    pub(super) const fn both(&mut self, from: Side) -> Option<(&mut Socket, Option<&mut Socket>)> {
        match (from, self.server.as_mut()) {
            (Side::Client, server) => Some((&mut self.client, server)),
            (Side::Server, Some(server)) => Some((server, Some(&mut self.client))),
            (Side::Server, None) => None,
        }
    }
}

/// All pairs' sockets.
#[derive(Default)]
pub(super) struct AllEnds(Vec<Option<(Key, Ends)>>);

impl AllEnds {
    #[inline]
    pub(super) fn get(&mut self, key: Key) -> Option<&mut Ends> {
        self.0.get_mut(key.index as usize)?.as_mut().filter(|it| it.0 == key).map(|it| &mut it.1)
    }

    pub(super) fn socket(&mut self, key: Key, side: Side) -> Option<&mut Socket> {
        self.get(key)?.get(side)
    }

    pub(super) fn put(&mut self, key: Key, client: Socket) {
        let index = key.index as usize;
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index] = Some((key, Ends { client, server: None }));
    }

    pub(super) fn take(&mut self, key: Key) -> Option<Ends> {
        let place = self.0.get_mut(key.index as usize)?;
        place.take_if(|it| it.0 == key).map(|it| it.1)
    }
}
