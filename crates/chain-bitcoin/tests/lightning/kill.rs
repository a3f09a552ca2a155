//! A node of ours that is killed, again and again, with payments under way in both directions.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use ldk_node::payment::{PaymentDirection, PaymentStatus};

use crate::world::{Theirs, World, hash_of, until, until_equal};

/// Kills while the channel is being opened.
const OPENING_KILLS: u32 = 5;
/// Kills with payments under way.
const ROUNDS: u32 = 12;
const PAYMENTS_A_ROUND: u32 = 8;
const CHANNEL_SAT: u64 = 2_000_000;

#[test]
fn a_node_killed_at_any_moment_pays_nothing_twice_and_loses_nothing() {
    let world = World::new();
    let theirs = world.theirs("theirs");
    let mut run = Run::new(&world, &theirs);
    run.open();
    for round in 0..ROUNDS {
        run.payments(round);
        // From before the first write to after most payments have arrived.
        std::thread::sleep(Duration::from_millis(u64::from(round) * 23 % 260));
        run.kill_and_start();
    }
    run.finish();
    run.check();
}

/// LDK hands a funding in once. bitcoind did not have it when the node was killed, and gets it after the next start.
#[test]
fn a_funding_that_bitcoind_never_got_is_handed_in_after_a_kill() {
    let mut world = World::new();
    let theirs = world.theirs("theirs");
    let folder = world.folder.path().join("killed");
    let mut process = Process::start(&folder, world.regtest.port());
    let address: bitcoin::Address<bitcoin::address::NetworkUnchecked> =
        process.ask("address").parse().expect("an address");
    world.pay(&address.assume_checked(), 2 * CHANNEL_SAT);
    world.mine(1);
    until("the coins are seen", || process.ask("coins") != "0");
    let connect = format!("connect {} {}", hex(&theirs.id()), theirs.address);
    assert_eq!(process.ask(&connect), "done");
    let stopped = world.runtime.block_on(world.regtest.stop());
    stopped.expect("bitcoind stops");
    let open = format!("open {} {CHANNEL_SAT}", hex(&theirs.id()));
    assert_eq!(process.ask(&open), "done");
    let journal = folder.join("journal");
    until("the channel is funded", || {
        std::fs::read_to_string(&journal).is_ok_and(|text| text.contains("funded"))
    });
    process.kill();
    let started = world.runtime.block_on(world.regtest.start_again());
    started.expect("bitcoind starts again");
    assert_eq!(world.mempool(), 0, "nobody has handed it in");
    let _process = Process::start(&folder, world.regtest.port());
    until("the funding is in the mempool", || world.mempool() == 1);
}

struct Run<'a> {
    world: &'a World,
    theirs: &'a Theirs,
    process: Process,
    folder: PathBuf,
    /// Invoices that we pay, by hash.
    outgoing: BTreeMap<[u8; 32], (String, u64)>,
    /// Invoices that they pay, by hash.
    incoming: BTreeMap<[u8; 32], u64>,
}

impl<'a> Run<'a> {
    fn new(world: &'a World, theirs: &'a Theirs) -> Self {
        let folder = world.folder.path().join("killed");
        let process = Process::start(&folder, world.regtest.port());
        Self {
            world,
            theirs,
            process,
            folder,
            outgoing: BTreeMap::new(),
            incoming: BTreeMap::new(),
        }
    }

    fn open(&mut self) {
        let address = self.process.ask("address");
        let address: bitcoin::Address<bitcoin::address::NetworkUnchecked> =
            address.parse().expect("an address");
        self.world.pay(&address.assume_checked(), 2 * CHANNEL_SAT);
        self.world.mine(1);
        until("the coins are seen", || self.process.ask("coins") != "0");
        self.connect();
        let peer = hex(&self.theirs.id());
        let line = format!("open {peer} {CHANNEL_SAT}");
        for time in 0..OPENING_KILLS {
            assert_eq!(self.process.ask(&line), "done");
            std::thread::sleep(Duration::from_millis(u64::from(time) * 17));
            self.kill_and_start();
            until("the coins are seen", || self.process.ask("coins") != "0");
        }
        // One that is there already is left as it is.
        assert_eq!(self.process.ask(&line), "done");
        until("the funding is in the mempool", || self.world.mempool() > 0);
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(self.world.mempool(), 1, "one channel was funded, once");
        self.world.settle(self.theirs);
        self.usable();
    }

    fn connect(&mut self) {
        let line = format!("connect {} {}", hex(&self.theirs.id()), self.theirs.address);
        // The peer takes no second connection before it has noticed the end of the first.
        until("the peer answers", || self.process.ask(&line) == "done");
    }

    fn usable(&mut self) {
        until("the channel is usable", || {
            self.process.ask("channel").starts_with("true")
        });
    }

    /// Some each way; those that ended badly before are asked for again.
    fn payments(&mut self, round: u32) {
        for number in 0..PAYMENTS_A_ROUND {
            let amount = 1_000_000 + u64::from(round * 100 + number);
            let invoice = self.theirs.invoice(amount);
            self.outgoing
                .insert(hash_of(&invoice), (invoice.clone(), amount));
        }
        let invoices: Vec<_> = self.outgoing.values().map(|(i, _)| i.clone()).collect();
        for invoice in invoices {
            self.process.ask(&format!("pay {invoice}"));
        }
        for number in 0..PAYMENTS_A_ROUND {
            let amount = 500_000 + u64::from(round * 100 + number);
            let id = round * 100 + number;
            let invoice = self.process.ask(&format!("invoice {id} {amount}"));
            self.incoming.insert(hash_of(&invoice), amount);
            self.theirs.try_pay(&invoice);
        }
    }

    fn kill_and_start(&mut self) {
        self.process.kill();
        self.process = Process::start(&self.folder, self.world.regtest.port());
        self.connect();
    }

    /// Asks for all that has not arrived, until all has.
    fn finish(&mut self) {
        self.usable();
        until_equal(
            "what of our payments has not arrived",
            &BTreeMap::new(),
            || self.unfinished(),
        );
        until("nothing is under way", || {
            self.process.ask("channel").ends_with(" 0") && self.theirs.pending().is_empty()
        });
    }

    /// Payments of ours that have not arrived, and how they stand; those that are not under way are asked for again.
    fn unfinished(&mut self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for (hash, (invoice, _)) in &self.outgoing {
            let mut standing = self.process.ask(&format!("payment {}", hex(hash)));
            if matches!(standing.as_str(), "unknown" | "failed") {
                standing = self.process.ask(&format!("pay {invoice}"));
            }
            if standing != "sent" {
                let channel = self.process.ask("channel");
                found.insert(hex(hash), format!("{standing}, channel {channel}"));
            }
        }
        found
    }

    fn check(&mut self) {
        let journal = std::fs::read_to_string(self.folder.join("journal")).expect("a journal");
        assert!(!journal.contains("closed"), "{journal}");
        let paid_us: BTreeSet<_> = self.theirs.ended(PaymentDirection::Outbound);
        let we_say: BTreeSet<_> = lines(&journal, "received ");
        let theirs_say: BTreeSet<_> = paid_us.iter().map(|h| hex(h)).collect();
        assert_eq!(we_say, theirs_say, "what they paid is what we received");
        let arrived = self.theirs.ended(PaymentDirection::Inbound);
        let asked: BTreeSet<_> = self.outgoing.keys().copied().collect();
        assert_eq!(arrived, asked, "all that we paid arrived");
        let sent = lines(&journal, "sent ");
        assert_eq!(sent, asked.iter().map(|h| hex(h)).collect());

        let out: u64 = self.outgoing.values().map(|(_, amount)| amount).sum();
        let back: u64 = paid_us.iter().map(|hash| self.incoming[hash]).sum();
        let left = CHANNEL_SAT * 1_000 - out + back;
        assert_eq!(self.process.ask("channel"), format!("true {left} 0"));
        assert_eq!(self.theirs.balance_msat(), CHANNEL_SAT * 1_000 - left);
        assert!(
            !paid_us.is_empty(),
            "some of theirs arrived between the kills"
        );
    }
}

fn lines(journal: &str, start: &str) -> BTreeSet<String> {
    journal
        .lines()
        .filter_map(|line| line.strip_prefix(start))
        .filter_map(|rest| rest.split(' ').next())
        .map(str::to_owned)
        .collect()
}

impl Theirs {
    /// What is not allowed to leave, since the peer is gone, is as good as never asked for.
    fn try_pay(&self, invoice: &str) {
        let invoice = invoice.parse().expect("an invoice");
        let _unless_gone = self.node.bolt11_payment().send(&invoice, None);
    }

    fn pending(&self) -> Vec<ldk_node::payment::PaymentDetails> {
        self.node.list_payments_with_filter(|p| {
            p.status == PaymentStatus::Pending && p.direction == PaymentDirection::Outbound
        })
    }

    /// Hashes of the Lightning payments that arrived, in this direction.
    fn ended(&self, direction: PaymentDirection) -> BTreeSet<[u8; 32]> {
        use ldk_node::payment::PaymentKind;
        let ended = self.node.list_payments_with_filter(|p| {
            p.status == PaymentStatus::Succeeded && p.direction == direction
        });
        ended
            .into_iter()
            .filter_map(|payment| match payment.kind {
                PaymentKind::Bolt11 { hash, .. } => Some(hash.0),
                _ => None,
            })
            .collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    use bitcoin::hex::DisplayHex;
    bytes.to_lower_hex_string()
}

/// The node, and the ends of its standard input and output.
pub(crate) struct Process {
    pub(crate) identity: bitcoin::secp256k1::PublicKey,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(folder: &PathBuf, port: u16) -> Self {
        Self::start_with(folder, port, &[])
    }

    /// One that sells channels just in time, and listens there.
    pub(crate) fn start_seller(folder: &PathBuf, port: u16, listen: std::net::SocketAddr) -> Self {
        Self::start_with(folder, port, &[listen.to_string()])
    }

    fn start_with(folder: &PathBuf, port: u16, more: &[String]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_lightning-under-kill"))
            .arg(folder)
            .args(["killed", &port.to_string()])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the node starts");
        let input = child.stdin.take().expect("piped");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let line = read_line(&mut output);
        let identity = line.strip_prefix("ready ").expect("it is ready");
        Self {
            identity: identity.parse().expect("a key"),
            child,
            input,
            output,
        }
    }

    pub(crate) fn ask(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").expect("the node reads");
        self.line()
    }

    fn line(&mut self) -> String {
        read_line(&mut self.output)
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it is gone");
    }
}

fn read_line(output: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    output.read_line(&mut line).expect("the node answers");
    assert!(line.ends_with('\n'), "the node ended: {line}");
    line.trim_end().to_owned()
}

impl Drop for Process {
    fn drop(&mut self) {
        // It is gone when the test has killed it already.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
