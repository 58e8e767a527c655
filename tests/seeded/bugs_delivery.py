"""Bugs of what is sent: order, repetitions, answers, isolation, progress."""

from seeded.what import Bug

BUGS = (
    Bug(
        name="planned_by_timestamp",
        promise="G3",
        breaks="messages are planned by the time of the wall clock instead of their number",
        file="routes/pipeline.py",
        old="        queue, again = self._queue, self._parked.again\n        for _ in range",
        new=(
            "        self._queue = deque(sorted(self._queue, key=lambda one: one.received_us))\n"
            "        queue, again = self._queue, self._parked.again\n"
            "        for _ in range"
        ),
        caught_by=(
            "simulation/test_jumps.py::"
            "test_a_clock_that_jumps_loses_repeats_reorders_forgets_and_holds_nothing[paused]",
        ),
        environ={"IFENGINE_JUMPS": "800"},
        seconds=240,
    ),
    Bug(
        name="numbers_drawn_out_of_turn",
        promise="G3",
        breaks="while a message waits for a reply, later ones draw their numbers before it",
        file="routes/pipeline.py",
        old=(
            "        self._calling = True\n"
            "        self._current = received.inbox_id\n"
            "        self._parts.spawn(self._wait_for_reply"
        ),
        new=(
            "        self._current = received.inbox_id\n"
            "        self._parts.spawn(self._wait_for_reply"
        ),
        caught_by=(
            "engine/test_python_steps.py::"
            "test_functions_that_hang_die_and_refuse_cost_their_own_message_and_order_is_kept",
        ),
        seconds=120,
    ),
    Bug(
        name="merge_is_no_barrier",
        promise="G3",
        breaks="a message waits for one of its keys alone: results overtake the merge of their patient",
        file="routes/lanes.py",
        old="        before = {id(t): t for k in keys if (t := self._tails.get(k)) is not None}\n",
        new="        before = {id(t): t for k in keys[:1] if (t := self._tails.get(k)) is not None}\n",
        caught_by=("routes/test_lanes.py::test_any_history_keeps_the_order_of_every_key_and_ends",),
        quick=True,
    ),
    Bug(
        name="retired_number_is_no_key",
        promise="G3",
        breaks="after a merge the other identifiers of a patient are no order keys of what names one",
        file="routes/channel.py",
        old="                        found.update(order_key(one) for one in alike(identifier))\n",
        new="                        pass\n",
        caught_by=(
            "engine/test_identity.py::"
            "test_what_is_stuck_under_either_number_holds_what_comes_under_either",
        ),
        seconds=120,
    ),
    Bug(
        name="dead_letter_holds_nothing",
        promise="G3",
        breaks="what comes after a refused message of the same patient goes on",
        file="routes/lanes.py",
        old="        return self.keeps_place(entry.keys)\n",
        new="        return False\n",
        caught_by=(
            "engine/test_delivery.py::test_a_refused_message_holds_its_patient_until_it_is_replayed",
        ),
        seconds=120,
    ),
    Bug(
        name="replay_loses_its_place",
        promise="G3",
        breaks="a replay leaves behind what its dead letter held",
        file="routes/dead_letters.py",
        old="            place = delivery.place if keeps else 0\n",
        new="            place = 0\n",
        caught_by=(
            "engine/test_restart.py::test_a_replay_that_waits_is_found_again_before_what_it_holds",
        ),
        seconds=120,
    ),
    Bug(
        name="cursor_before_the_answer",
        promise="G4",
        breaks="the cursor passes what is under way: a crash forgets it",
        file="routes/lanes.py",
        old="        return plain[0].seq - 1 if plain else self.through\n",
        new="        return self.through\n",
        caught_by=(
            "engine/test_peers.py::test_what_may_have_left_before_a_crash_is_marked_and_nothing_else",
        ),
        quick=True,
    ),
    Bug(
        name="doubt_not_marked",
        promise="G4",
        breaks="what may have left before a crash is resent without its mark",
        file="routes/delivery.py",
        old="            self._suspect_through = min(head, cursor + schedule.window)\n",
        new="            self._suspect_through = cursor\n",
        caught_by=(
            "engine/test_restart.py::"
            "test_after_a_crash_all_that_was_acknowledged_arrives_and_repeats_are_marked",
        ),
        quick=True,
    ),
    Bug(
        name="window_not_kept",
        promise="G4",
        breaks="what was held may be under way in any number without a durable outcome",
        file="routes/lanes.py",
        old="        if self.flying + self.undurable >= self.window:\n            return None\n",
        new="",
        caught_by=(
            "routes/test_lanes.py::test_the_window_counts_what_was_held_and_goes_again_too",
        ),
        quick=True,
    ),
    Bug(
        name="ahead_of_the_cursor",
        promise="G4",
        breaks="what is sent runs ahead of the cursor, further than a crash looks for what left",
        file="routes/lanes.py",
        old="            if not entry.exceptional and entry.seq > self.durable_low + self.window:\n",
        new="            if False:\n",
        caught_by=(
            "routes/test_lanes.py::"
            "test_nothing_is_sent_further_from_the_cursor_than_a_crash_looks_for_what_may_have_left",
        ),
        quick=True,
    ),
    Bug(
        name="any_answer_counts",
        promise="G6",
        breaks="MSA-2 is ignored: whatever answer comes settles the message under way",
        file="routes/endpoints/mllp.py",
        old="        elif under_way and answer.control_id == self._control_id:\n",
        new="        elif under_way:\n",
        caught_by=(
            "chaos/test_ack_truth.py::"
            "test_whatever_a_receiver_answers_only_what_arrived_is_called_sent",
        ),
        seconds=120,
    ),
    Bug(
        name="no_is_taken_for_yes",
        promise="G6",
        breaks="AE counts as accepted",
        file="routes/endpoints/mllp.py",
        old='_ACCEPTED = frozenset({"AA", "CA"})\n',
        new='_ACCEPTED = frozenset({"AA", "CA", "AE"})\n',
        caught_by=(
            "chaos/test_ack_truth.py::"
            "test_whatever_a_receiver_answers_only_what_arrived_is_called_sent",
        ),
        seconds=120,
    ),
    Bug(
        name="connection_kept_after_a_timeout",
        promise="G6",
        breaks="after an answer that did not come the connection stays, and a late one may be credited",
        file="routes/endpoints/mllp.py",
        old="        self._client.abort(label)\n        self._used.clear()\n        result =",
        new="        self._used.clear()\n        result =",
        caught_by=(
            "engine/test_delivery.py::"
            "test_a_timeout_closes_the_connection_and_sends_the_same_bytes_again_marked",
        ),
        quick=True,
    ),
    Bug(
        name="connection_ended_in_order",
        promise="G6",
        breaks="a given-up connection is closed and not reset: its bytes arrive behind newer messages",
        file="routes/endpoints/mllp.py",
        old="        self._client.abort(label)\n",
        new="        self._client.close(label)\n",
        caught_by=(
            "chaos/test_ack_truth.py::"
            "test_what_a_dead_connection_still_holds_never_arrives_behind_newer_messages",
        ),
        seconds=120,
    ),
    Bug(
        name="id_again_on_one_connection",
        promise="G6",
        breaks="two messages of one id share a connection: an answer to the first settles the second",
        file="routes/endpoints/mllp.py",
        old="        if header.control_id in self._used and is_connected:\n",
        new="        if False:\n",
        caught_by=(
            "engine/test_delivery.py::test_two_messages_of_one_control_id_never_share_a_connection",
        ),
        quick=True,
    ),
    Bug(
        name="dead_letter_stops_everybody",
        promise="G7",
        breaks="a dead letter holds every patient of its destination",
        file="routes/lanes.py",
        old="        self._chained = order is Order.STRICT or (not ordered and order is not Order.NONE)\n",
        new="        self._chained = order is not Order.NONE\n",
        caught_by=("engine/test_isolation.py::test_a_poison_message_delays_only_its_own_patient",),
        seconds=120,
    ),
    Bug(
        name="worker_not_ended",
        promise="G7",
        breaks="a function that ran out of its time is asked again instead of being killed",
        file="routes/workers.py",
        old="            keep = not is_spent(reply)\n        except",
        new="            keep = not is_spent(reply)\n        except TimeoutError as error:\n"
        "            keep = True\n            return failed(call, error)\n        except",
        caught_by=(
            "routes/test_workers.py::"
            "test_of_a_thousand_messages_those_that_hang_cost_themselves_alone",
        ),
        seconds=180,
    ),
    Bug(
        name="wake_up_lost",
        promise="G10",
        breaks="a retry that is due is never woken",
        file="routes/delivery.py",
        old="        heapq.heappush(self._retries, (due, entry.seq, entry))\n",
        new="",
        caught_by=(
            "simulation/test_schedules.py::"
            "test_whatever_the_schedule_nothing_is_lost_or_overtaken_and_all_drains",
        ),
        seconds=180,
    ),
    Bug(
        name="refill_forgotten",
        promise="G10",
        breaks="what did not fit into memory is never read again",
        file="routes/delivery.py",
        old="        if self._wants_refill():\n",
        new="        if False:\n",
        caught_by=("engine/test_restart.py::test_a_backlog_larger_than_memory_leaves_in_order",),
        seconds=120,
    ),
    Bug(
        name="retention_by_the_wall_clock",
        promise="G12",
        breaks="a clock that jumped purges what is days old by it",
        file="engine/watch.py",
        old=(
            "        now_us, came = parts.steady.now_us(), parts.steady.of\n"
            "        if parts.steady.is_doubtful:\n"
            "            return 0\n"
        ),
        new=(
            "        now_us = parts.clock.now_us()\n"
            "\n"
            "        def came(inbox_id: int, received_us: int) -> int:\n"
            "            return received_us\n"
            "\n"
        ),
        caught_by=(
            "simulation/test_jumps.py::"
            "test_a_clock_that_jumps_loses_repeats_reorders_forgets_and_holds_nothing",
        ),
        seconds=240,
    ),
    Bug(
        name="guard_by_the_wall_clock",
        promise="G12",
        breaks="the window of a repetition ends when the clock is set",
        file="routes/intake.py",
        old="            entry.guard_at_us = steady_us\n",
        new="            entry.guard_at_us = parts.clock.now_us()\n",
        caught_by=(
            "simulation/test_jumps.py::"
            "test_a_clock_that_jumps_loses_repeats_reorders_forgets_and_holds_nothing",
        ),
        seconds=240,
    ),
    Bug(
        name="giant_joined_on_the_loop",
        promise="G7",
        breaks="what the steps made of a giant is joined on the loop: everybody waits for it",
        file="routes/giant_planning.py",
        old="        if self._joins < MOST_JOINS and message.is_at_least(GIANT_BYTES):\n",
        new="        if self._joins > MOST_JOINS:\n",
        caught_by=(
            "engine/test_giants.py::"
            "test_while_what_was_made_of_a_giant_is_joined_other_channels_go_on",
        ),
        quick=True,
    ),
    Bug(
        name="joined_for_another",
        promise="G2",
        breaks="what was joined for one destination is taken for what another one gets",
        file="hl7/message.py",
        old="            and self._segments == other._segments\n",
        new="",
        caught_by=(
            "hl7/test_lines.py::"
            "test_a_message_takes_over_the_encoded_form_of_one_that_says_the_same_and_of_no_other",
            "engine/test_giants.py::test_what_two_destinations_make_of_a_giant_is_joined_for_each",
        ),
        quick=True,
    ),
    Bug(
        name="long_messages_read_in_one_turn",
        promise="G7",
        breaks="long messages that come fast are read without end: nobody else is read meanwhile",
        file="mllp/turns.py",
        old="        if self._left > 0 and not self._waiting:\n",
        new="        if self._left:\n",
        caught_by=(
            "mllp/test_listener_turns.py::"
            "test_of_long_messages_no_more_is_read_in_a_turn_of_the_loop_than_others_can_wait_for",
        ),
        quick=True,
    ),
)
