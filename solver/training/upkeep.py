"""What is done between steps now and then, and after the last one.

Between: silent units are revived, and layers' inputs looked at for whitening. After: the brightness of the averaged
weights is set right.
"""

import copy

import torch
from torch.nn import functional as F

from dataset.signals import Stopped, StopRequest
from dataset.train_set import TrainSet
from model.ops import Network

from .brightness import set_right
from .muon import WhitenedMuon
from .revive import Hidden

_LOOK = 100  # steps from one look at what the network's layers are given to the next; after ten, five times as many
_BATCHES = 32  # of each scale, to measure the brightness on


class Upkeep:
    """Looks after a network and its optimizer while it is trained.

    Args:
        net: the network.
        average: the network with the averaged weights, if there is one, which gets what the other gets.
        optimizer: the first of its optimizers, which may want to look at the layers' inputs.
        data: where patches to look at come from.
        args: the run's settings: ``revive`` and ``max_steps``.
        group: the run's processes. All look at the same whole batches, and get what the leading one finds.
        patches: the patches of a batch as the network takes them.
    """

    def __init__(self, net: Network, average: Network | None, optimizer, data: TrainSet, args, group, patches) -> None:
        self.net, self.average, self.optimizer, self.data = net, average, optimizer, data
        self.final: Network | None = None  # the averaged network after the last step
        self.revive, self.last, self.group, self.patches = args.revive, args.max_steps // 2, group, patches

    def is_due(self, step: int) -> bool:
        """Whether there is something to do before a step."""
        return self._revives(step) or self._looks(step)

    def do(self, step: int, seed: int) -> int:
        """Do what is due before a step; returns how many units were revived."""
        torch.manual_seed(seed)
        batches = [self.data.batch_of(scale, step) for scale in self.data.scales]
        batches = [(self.patches(batch.lr), self.patches(batch.hr), batch.scale) for batch in batches]

        def run() -> None:
            for batch in batches:
                self.net.loss(F.mse_loss, *batch)

        revived = 0
        if self._revives(step):
            hidden = Hidden(self.net.hidden())
            hidden.watch(run)
            revived = hidden.revive(self.average.hidden() if self.average else ())
            self.group.same([*self.net.parameters(), *(self.average.parameters() if self.average else ())])
        if self._looks(step):
            self.optimizer.look(run)
            self.group.same(self.optimizer.whitening())
        return revived

    def finished(self, step: int, stop: StopRequest | None) -> Network:
        """The averaged network with its brightness set right, on the patches of steps that would come.

        It is a copy: a run that goes on later goes on with the average as it was.

        Raises:
            Stopped: if ``stop`` was asked to.
        """

        def batches():
            for number in range(step, step + _BATCHES):
                for scale in self.data.scales:
                    if stop is not None and stop.signal is not None:
                        raise Stopped
                    batch = self.data.batch_of(scale, number)
                    yield self.patches(batch.lr), self.patches(batch.hr), batch.scale

        if self.final is None:
            net = copy.deepcopy(self.average)
            set_right(net, batches())
            self.final = net
        return self.final

    def _revives(self, step: int) -> bool:
        return bool(self.revive) and step % self.revive == 0 and step <= self.last

    def _looks(self, step: int) -> bool:
        every = _LOOK if step <= 10 * _LOOK else 5 * _LOOK
        return isinstance(self.optimizer, WhitenedMuon) and step % every == 0
