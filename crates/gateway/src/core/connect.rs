//! Opens connections to servers and signs in.

use super::client::Wait;
use super::endpoint::LaneName;
use super::intake::Taken;
use super::link::{After, Greeting, Link, Purpose, Stage};
use super::{Core, Effect, Key};
use std::time::Duration;

/// How long a connection may take until it is signed in.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(2);
/// As `DBSIZE` of a server's list of refused databases: more are not remembered.
const REFUSED_DATABASES_MAX: usize = 64;

const NO_REPLICA: &[u8] = b"-NOREPLICA no replica is near enough to its primary to be read from\r\n";

/// A request as an array.
pub(super) fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

impl Core {
    /// The shared connection for this client's next commands, if one is ready. If not, one is being opened, or will be.
    pub(super) fn find_lane(&mut self, key: Key) -> Option<Key> {
        let client = self.clients.get(key)?;
        let name = (client.login, client.database, client.resp3);
        self.lane(client.endpoint, name)
    }

    pub(super) fn lane(&mut self, endpoint: usize, name: LaneName) -> Option<Key> {
        let state = &self.endpoints[endpoint];
        if !state.open {
            return None;
        }
        if let Some(lane) = state.lanes.get(&name) {
            return Some(*lane).filter(|lane| self.links.get(*lane).is_some_and(Link::is_ready));
        }
        let lane = self.open_link(endpoint, Purpose::Shared, name)?;
        self.endpoints[endpoint].lanes.insert(name, lane);
        None
    }

    /// Begins to open a connection. `None`: not now.
    pub(super) fn open_link(&mut self, endpoint: usize, purpose: Purpose, name: LaneName) -> Option<Key> {
        let state = &self.endpoints[endpoint];
        let (login, database, resp3) = name;
        let refused = state.refused_databases.contains_key(&database);
        let target = state.target.clone().filter(|_| state.open && !refused && self.now >= state.retry_at)?;
        let link = Link::new(endpoint, target.address, purpose);
        let (primary, used) = (state.primary, self.now);
        let key = self.links.insert(Link { primary, login, database, resp3, used, ..link });
        self.effects.push_back(Effect::Connect {
            link: key,
            endpoint,
            address: target.address,
            host: target.host,
        });
        super::account::opened(&state.traffic, purpose);
        Some(key)
    }

    /// The connection to a server is there: signs in.
    pub(crate) fn link_connected(&mut self, key: Key) {
        let Some(link) = self.links.get_mut(key).filter(|link| link.stage == Stage::Connecting) else {
            return;
        };
        link.stage = Stage::Greeting;
        let login = self.endpoints[link.endpoint].logins.get(link.login as usize).cloned().flatten();
        let (resp3, database) = (link.resp3, link.database.to_string());
        let mut say = |words: &[&[u8]], step| {
            link.push(Key::NONE, &request(words), 1, After::Greeting(step), false);
        };
        if let Some(login) = &login {
            say(&[b"AUTH", login.user.as_bytes(), login.password.reveal().as_bytes()], Greeting::Auth);
        }
        say(&[b"HELLO", if resp3 { b"3" } else { b"2" }], Greeting::Hello);
        if database != "0" {
            say(&[b"SELECT", database.as_bytes()], Greeting::Select);
        }
        say(&[b"CLIENT", b"SETNAME", b"backstay-gateway"], Greeting::Name);
        say(&[b"CLIENT", b"ID"], Greeting::Id);
        Self::soil_link(&mut self.dirty_links, link, key);
    }

    /// One reply to what `link_connected` said.
    pub(super) fn greeted(&mut self, key: Key, step: Greeting, frame: &[u8]) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        let endpoint = &mut self.endpoints[link.endpoint];
        let error = frame.starts_with(b"-");
        match step {
            Greeting::Hello if !error => {
                if let Some(version) = field_in(frame, "version") {
                    endpoint.version = version;
                }
                // A server that was restarted before the controllers noticed is no primary: it would refuse what can wait
                // for the next one.
                if link.primary && field_in(frame, "role").is_some_and(|role| role != "master") {
                    self.lose(key, "it is no primary any more");
                }
            }
            // Redis before version 6 knows no HELLO and no users.
            Greeting::Hello if !link.resp3 && frame.starts_with(b"-ERR unknown command") => {}
            Greeting::Select if error => {
                let database = link.database;
                if endpoint.refused_databases.len() >= REFUSED_DATABASES_MAX {
                    endpoint.refused_databases.pop_first();
                }
                endpoint.refused_databases.insert(database, frame.to_vec());
                let number = link.endpoint;
                // No failure of the server: nobody else has to wait longer for a connection.
                self.forget(key, true);
                self.wake(number);
            }
            Greeting::Auth | Greeting::Hello if error => {
                // What it says may name users, which is nothing for clients.
                let said = String::from_utf8_lossy(&frame[1..]);
                let (name, why) = (&endpoint.settings.name, "the server does not let this gateway sign in");
                tracing::warn!(endpoint = name, server = %link.address, said = said.trim(), "{why}");
                self.lose(key, why);
            }
            Greeting::Id => {
                link.server_id =
                    std::str::from_utf8(&frame[1..]).ok().and_then(|text| text.trim().parse().ok());
                self.link_ready(key);
            }
            _ => {}
        }
    }

    fn link_ready(&mut self, key: Key) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        link.stage = Stage::Ready;
        let (endpoint, purpose) = (link.endpoint, link.purpose);
        self.endpoints[endpoint].succeeded();
        match purpose {
            Purpose::Own(Key::NONE) => self.endpoints[endpoint].idle.push(key),
            Purpose::Own(client) => self.resume(client),
            Purpose::Shared | Purpose::Retired => self.wake(endpoint),
        }
    }

    /// Lets every client of the endpoint that waits for a server try again.
    pub(super) fn wake(&mut self, endpoint: usize) {
        for key in std::mem::take(&mut self.endpoints[endpoint].waiting) {
            self.resume(key);
        }
    }

    /// Lets one client that waits for a server try again.
    pub(super) fn resume(&mut self, key: Key) {
        if let Some(client) = self.clients.get_mut(key)
            && client.wait == Wait::Server
        {
            client.wait = Wait::No;
            self.runnable.push_back(key);
        }
    }

    /// No server can take this client's next commands now. So many are answered at once, if they are not to wait.
    pub(super) fn no_server(&mut self, key: Key, commands: u32) -> Taken {
        let refuses = self.clients.get(key).is_some_and(|client| self.endpoints[client.endpoint].refuses);
        if !refuses {
            return self.wait(key, Wait::Server);
        }
        for _ in 0..commands {
            let taken = self.answer(key, NO_REPLICA);
            if taken != Taken::Done {
                return taken;
            }
            self.refused_at_endpoint(key);
            // The next answer is to the next command.
            if self.families.len() > 1 {
                self.families.remove(0);
            }
        }
        Taken::Refused
    }
}

/// A text in a reply to `HELLO`.
fn field_in(frame: &[u8], name: &str) -> Option<String> {
    let text = std::str::from_utf8(frame).ok()?;
    let mut lines = text.split("\r\n").skip_while(|line| *line != name);
    Some(lines.nth(2)?.to_owned())
}
