//! Calling the agent of another instance, each proven to the other if the cluster has certificates.

use super::trouble::Trouble;
use super::words::{self, Ask, Greeting, Heard, Stream, Word};
use crate::link::notice_dead_hosts;
use crate::tls::{Identity, Keyring};
use backstay_model::{Address, ClusterName, InstanceName};
use socket2::SockRef;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a donor may take until it said how it stands: it weighs its data.
const GREETING_LIMIT: Duration = Duration::from_secs(60);
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// After how long without an acknowledgement of the other kernel a connection is given up. A receiver's disk may stand
/// still for a while.
pub(super) const GIVE_UP: Duration = Duration::from_secs(60);

/// Who calls.
#[derive(Clone, Debug)]
pub(super) struct Dialler {
    pub(super) cluster: ClusterName,
    pub(super) me: InstanceName,
    pub(super) keyring: Option<Arc<Keyring>>,
}

impl Dialler {
    /// Calls `donor`'s agent, hears how it stands and, with `copy`, may hear its data next.
    pub(super) async fn call(
        &self,
        donor: &InstanceName,
        address: &Address,
        copy: bool,
    ) -> Result<(Stream, Greeting), Trouble> {
        let unreachable = |why: String| {
            Trouble::Donor(format!(
                "the agent of {donor} cannot be reached at {address}: {why}. See that `backstay agent` runs on the host of \
                 {donor}, then rebuild again"
            ))
        };
        let connected = timeout(CONNECT_LIMIT, self.connect(donor, address)).await;
        let connected = connected.map_err(|_| unreachable("it does not answer".to_owned()))?;
        let mut stream = connected.map_err(unreachable)?;
        let ask = Ask::new(self.cluster.clone(), self.me.clone(), donor.clone(), copy);
        let talk = async {
            words::say(&mut stream, &ask).await?;
            let mut piece = Vec::new();
            loop {
                match words::hear(&mut stream, &mut piece).await? {
                    Heard::Word(Word::Patience) => {}
                    heard => return Ok::<_, io::Error>(heard),
                }
            }
        };
        let heard =
            timeout(GREETING_LIMIT, talk).await.map_err(|_| unreachable("it is silent".to_owned()))?;
        match heard.map_err(|error| words::donor_lost(donor, &error))? {
            Heard::Word(Word::Greeting(greeting)) => Ok((stream, greeting)),
            Heard::Word(Word::Sorry(why)) => Err(Trouble::Donor(format!("the agent of {donor} said: {why}"))),
            _ => Err(Trouble::Donor(format!(
                "the agent of {donor} said what makes no sense here: run the same version of Backstay everywhere"
            ))),
        }
    }

    async fn connect(&self, donor: &InstanceName, address: &Address) -> Result<Stream, String> {
        let stream =
            TcpStream::connect((&*address.host, address.port)).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        notice_dead_hosts(&SockRef::from(&stream), GIVE_UP).map_err(|error| error.to_string())?;
        let Some(keyring) = &self.keyring else {
            return Ok(Box::new(stream));
        };
        let wanted = Identity::Agent { cluster: self.cluster.clone(), name: donor.clone() };
        let stream = keyring.dial(stream, &wanted).await.map_err(|error| error.to_string())?;
        Ok(Box::new(stream))
    }
}
