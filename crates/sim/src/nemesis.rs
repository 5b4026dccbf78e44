//! What goes wrong in a run: faults drawn from the seed, each with an end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bonghwa_seam as seam;

use crate::dice;
use crate::network::Weather;
use crate::objects::StoreWeather;
use crate::roles::Role;
use crate::world::World;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A kind of fault.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// A process ends where it is, and starts again.
    Crash,
    /// All processes of a zone, at once.
    CrashZone,
    /// All processes, at once.
    PowerCut,
    /// A process ends as it should, and starts again.
    Restart,
    /// Nothing gets to a node, or from it, or both.
    Isolate,
    /// Nothing gets from one node to another.
    CutLink,
    /// The nodes fall into two halves.
    Split,
    /// Messages are slow.
    SlowNetwork,
    /// Connections break.
    LossyNetwork,
    /// A node's disk syncs slowly.
    SlowDisk,
    /// A node's disk fails for a while.
    BrokenDisk,
    /// A node's wall clock jumps.
    ClockJump,
    /// The object store fails now and then, tears uploads and loses answers.
    FlakyStore,
    /// The object store is away.
    StoreOutage,
    /// The object store is slow.
    SlowStore,
    /// An operator flushes everything.
    Flush,
}

const FAULTS: [(Fault, u64); 16] = [
    (Fault::Crash, 6),
    (Fault::CrashZone, 1),
    (Fault::PowerCut, 1),
    (Fault::Restart, 2),
    (Fault::Isolate, 4),
    (Fault::CutLink, 4),
    (Fault::Split, 1),
    (Fault::SlowNetwork, 1),
    (Fault::LossyNetwork, 2),
    (Fault::SlowDisk, 2),
    (Fault::BrokenDisk, 1),
    (Fault::ClockJump, 1),
    (Fault::FlakyStore, 3),
    (Fault::StoreOutage, 1),
    (Fault::SlowStore, 2),
    (Fault::Flush, 3),
];

fn draw() -> Fault {
    let total = FAULTS.iter().map(|(_, weight)| weight).sum();
    let mut at = dice::below(total);
    for (fault, weight) in FAULTS {
        match at.checked_sub(weight) {
            None => return fault,
            Some(left) => at = left,
        }
    }
    Fault::Crash
}

/// Lets things go wrong until it is told to end; returns when all faults have ended. How many.
pub async fn rage(world: Arc<World>, end: Arc<AtomicBool>) -> usize {
    let mut running = Vec::new();
    loop {
        seam::sleep(dice::between(ms(200), ms(4000))).await;
        if end.load(Ordering::Relaxed) {
            break;
        }
        running.push(seam::spawn(inflict(world.clone(), draw())));
    }
    let count = running.len();
    for fault in running {
        fault.join().await;
    }
    count
}

async fn inflict(world: Arc<World>, fault: Fault) {
    let names = world.all_names();
    let Some(victim) = dice::one_of(&names).cloned() else { return };
    let lasts = dice::between(ms(100), ms(6000));
    world.trace.line(format!("{fault:?} near {victim} for {lasts:?}"));
    match fault {
        Fault::Crash => down(&world, vec![victim], lasts).await,
        Fault::CrashZone => {
            let zone = format!("zone-{}", 1 + dice::below(3));
            down(&world, world.in_zone(&zone), lasts).await;
        }
        Fault::PowerCut => down(&world, names, lasts).await,
        Fault::Restart => {
            world.stop(&victim).await;
            seam::sleep(lasts).await;
            world.start(&victim);
        }
        Fault::Isolate => isolate(&world, &victim, lasts).await,
        Fault::CutLink => {
            let Some(other) = dice::one_of(&names).filter(|other| **other != victim).cloned() else { return };
            cut(&world, vec![(victim, other)], lasts).await;
        }
        Fault::Split => {
            let left: Vec<&String> = names.iter().filter(|_| dice::chance(0.5)).collect();
            let right = names.iter().filter(|name| !left.contains(name));
            let pairs = right.flat_map(|r| left.iter().map(move |l| (r.clone(), (*l).clone())));
            cut(&world, pairs.flat_map(|(a, b)| [(a.clone(), b.clone()), (b, a)]).collect(), lasts).await;
        }
        Fault::SlowNetwork => {
            weather(&world, Weather { latency: (ms(20), ms(300)), ..Weather::default() }, lasts).await;
        }
        Fault::LossyNetwork => {
            let loss = dice::below(100) as f64 / 1000.0;
            weather(&world, Weather { loss, ..Weather::default() }, lasts).await;
        }
        Fault::SlowDisk => {
            let Some(disk) = world.disk(&victim) else { return };
            disk.set_sync_time(ms(50), ms(800));
            seam::sleep(lasts).await;
            disk.set_sync_time(ms(1), ms(6));
        }
        Fault::BrokenDisk => {
            let Some(disk) = world.disk(&victim) else { return };
            disk.set_failure(Some("an I/O error of the simulation".to_owned()));
            seam::sleep(lasts).await;
            disk.set_failure(None);
        }
        Fault::ClockJump => {
            let seconds = dice::below(7200) as i64 - 3600;
            world.set_clock_error(&victim, seconds * 1_000_000_000);
            seam::sleep(lasts).await;
            world.set_clock_error(&victim, 0);
        }
        Fault::FlakyStore => {
            let share = dice::below(400) as f64 / 1000.0;
            let weather =
                StoreWeather { errors: share, lost_answers: share / 2.0, torn: share / 2.0, ..Default::default() };
            store(&world, weather, lasts).await;
        }
        Fault::StoreOutage => store(&world, StoreWeather::outage(), lasts).await,
        Fault::SlowStore => {
            store(&world, StoreWeather { latency: (ms(300), ms(6000)), ..Default::default() }, lasts).await;
        }
        Fault::Flush => flush(&world).await,
    }
}

async fn down(world: &World, names: Vec<String>, lasts: Duration) {
    for name in &names {
        world.crash(name, true);
    }
    seam::sleep(lasts).await;
    for name in &names {
        world.start(name);
    }
}

async fn isolate(world: &World, victim: &str, lasts: Duration) {
    let (to, from) = [(true, true), (true, false), (false, true)][dice::below(3) as usize];
    let mut links = Vec::new();
    for other in world.all_names().into_iter().chain(["client".to_owned()]).filter(|other| other != victim) {
        if to {
            links.push((other.clone(), victim.to_owned()));
        }
        if from {
            links.push((victim.to_owned(), other));
        }
    }
    cut(world, links, lasts).await;
}

async fn cut(world: &World, links: Vec<(String, String)>, lasts: Duration) {
    for (from, to) in &links {
        world.network.cut(from, to);
    }
    seam::sleep(lasts).await;
    for (from, to) in &links {
        world.network.mend(from, to);
    }
}

async fn weather(world: &World, weather: Weather, lasts: Duration) {
    world.network.set_weather(weather);
    seam::sleep(lasts).await;
    world.network.set_weather(Weather::default());
}

async fn store(world: &World, weather: StoreWeather, lasts: Duration) {
    world.objects.set_weather(weather);
    seam::sleep(lasts).await;
    world.objects.set_weather(StoreWeather::default());
}

/// Flushes every ingester that answers.
pub async fn flush(world: &World) {
    for name in world.names(Role::Ingester) {
        let flushed = world.network.call("client", &name, |servers| async move {
            match servers.ingester() {
                Some(ingester) => ingester.flush().await.map_err(|e| e.to_string()),
                None => Err("not open".to_owned()),
            }
        });
        let flushed = seam::timeout(Duration::from_secs(60), flushed).await;
        world.trace.line(format!("flush of {name}: {flushed:?}"));
    }
}
