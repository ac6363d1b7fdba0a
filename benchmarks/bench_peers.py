"""Each peer's time over fastcell's, one thread; `python -m benchmarks.peers` has more sizes, and all threads."""

from . import common, peers_lstm, peers_toy
from .common import Peer


class _Beside:
    """On one core, which is what holds JAX to one thread."""

    timeout = 120

    def begin(self, name: str, peer: Peer) -> None:
        if peer.missing():
            raise NotImplementedError(f"{name} is not installed")
        self.cores = common.cores()
        common.keep_to({min(self.cores)})

    def teardown(self, *_: str) -> None:
        if hasattr(self, "cores"):
            common.keep_to(self.cores)


class LSTMPeers(_Beside):
    """float32, whole calls."""

    params = (
        tuple(peers_lstm.PEERS),
        ("one row, 16 units", "one row, 256 units", "64 rows, 128 units", "1024 rows, 16 units"),
    )
    param_names = ("peer", "shape")

    def setup(self, name: str, shape: str) -> None:
        common.needs("LSTM")
        peer = peers_lstm.PEERS[name]
        self.begin(name, peer)
        self.lstm, self.x = common.lstm(shape)
        self.peer = peer.prepare(self.lstm, self.x, 1)

    def track_lstm_peer(self, name: str, shape: str) -> float:
        return common.ratio(self.peer, lambda: self.lstm(self.x, threads=1))

    track_lstm_peer.unit = "times fastcell's time"
    track_lstm_peer.pretty_name = "Peers' LSTM over fastcell's"


class ToyPeers(_Beside):
    """2,000,000 steps; peers that have no equal of a problem are left out."""

    params = (tuple(peers_toy.NAMES), tuple(peers_toy.WORK))
    param_names = ("peer", "problem")

    def setup(self, name: str, problem: str) -> None:
        common.needs("toy_scan", "gated_scan")
        work = peers_toy.WORK[problem]
        if name not in work.peers:
            raise NotImplementedError(f"{name} has no equal")
        self.begin(name, work.peers[name])
        data = work.data(peers_toy.STEPS)
        self.own, self.peer = lambda: work.fastcell(data, 1), work.peers[name].prepare(data, 1)

    def track_toy_peer(self, name: str, problem: str) -> float:
        return common.ratio(self.peer, self.own)

    track_toy_peer.unit = "times fastcell's time"
    track_toy_peer.pretty_name = "Peers' scans over fastcell's"
