"""Bugs of the rules that keep patients safe, and of bounds and secrecy."""

from seeded.what import Bug

BUGS = (
    Bug(
        name="pending_without_a_bound",
        promise="G9",
        breaks="a sender that never waits for answers fills the memory",
        file="mllp/inbound.py",
        old="        if self.pending >= MAX_PENDING:\n",
        new="        if False:\n",
        caught_by=(
            "mllp/test_listener.py::test_too_many_unanswered_frames_stop_reading_and_none_is_dropped",
        ),
        quick=True,
    ),
    Bug(
        name="connections_without_a_bound",
        promise="G9",
        breaks="one peer may take every connection there is",
        file="mllp/listener.py",
        old="        elif self._held_slots >= self.options.max_connections:\n",
        new="        elif False:\n",
        caught_by=(
            "mllp/test_listener.py::"
            "test_connections_over_a_limit_are_closed_and_a_free_place_is_given_again",
        ),
        quick=True,
    ),
    Bug(
        name="unfinished_without_a_bound",
        promise="G9",
        breaks="unfinished messages of many peers together fill the memory",
        file="mllp/listener.py",
        old="        if more > 0 and self.unfinished > self._most_unfinished():\n",
        new="        if False:\n",
        caught_by=(
            "mllp/test_listener_memory.py::"
            "test_at_the_bound_the_largest_of_the_address_that_holds_most_is_closed",
        ),
        quick=True,
    ),
    Bug(
        name="burst_without_turns",
        promise="G9",
        breaks="a connection hands over all it has before another one is read",
        file="mllp/inbound.py",
        old="                if self.frames >= turn_ends:\n",
        new="                if False:\n",
        caught_by=(
            "mllp/test_listener_turns.py::"
            "test_a_burst_on_one_connection_lets_the_others_have_their_turn",
        ),
        quick=True,
    ),
    Bug(
        name="flood_answered_first",
        promise="G9",
        breaks="who sends much is answered before who sent little in the same commit",
        file="routes/intake_pending.py",
        old="    return sorted(by_connection.items(), key=_how_many)\n",
        new="    return list(by_connection.items())\n",
        caught_by=(
            "engine/test_fair_answers.py::"
            "test_of_what_one_commit_holds_who_sent_least_is_answered_first",
        ),
        quick=True,
    ),
    Bug(
        name="pages_without_a_share",
        promise="G9",
        breaks="pages of metrics that are asked for without end take all of the loop's time",
        file="telemetry/http.py",
        old="        if self.now() >= self._due_at:\n",
        new="        if True:\n",
        caught_by=(
            "telemetry/test_http.py::test_pages_asked_for_without_end_take_a_small_share_of_the_time_and_all_are_answered",
        ),
        quick=True,
    ),
    Bug(
        name="giant_taken_in_on_the_loop",
        promise="G7",
        breaks="a message of many megabytes is copied and sealed on the loop: everybody waits for it",
        file="routes/giants.py",
        old="                return await self._parts.loop.run_in_executor(None, work)\n",
        new="                return work()\n",
        caught_by=(
            "engine/test_giants.py::"
            "test_while_a_giant_is_taken_in_others_are_answered_and_what_follows_it_waits",
        ),
        quick=True,
    ),
    Bug(
        name="copy_of_a_giant_sealed_on_the_loop",
        promise="G7",
        breaks="what the steps made of a giant is sealed on the loop: every channel waits for it",
        file="routes/giants.py",
        old="        sealed = await parts.loop.run_in_executor(None, work)\n",
        new="        sealed = work()\n",
        caught_by=(
            "engine/test_giants.py::"
            "test_while_a_giant_is_sealed_for_its_destination_other_channels_go_on",
        ),
        quick=True,
    ),
    Bug(
        name="giant_overtaken_by_what_followed_it",
        promise="G2",
        breaks="the next message of a connection is taken while a giant before it is being sealed",
        file="routes/giants.py",
        old="            prepared = await self._prepare(giant)\n",
        new=("            connection.go_on()\n            prepared = await self._prepare(giant)\n"),
        caught_by=(
            "engine/test_giants.py::"
            "test_while_a_giant_is_taken_in_others_are_answered_and_what_follows_it_waits",
        ),
        seconds=180,
    ),
    Bug(
        name="frame_without_an_end",
        promise="G9",
        breaks="a frame that drips in holds its connection for ever",
        file="mllp/inbound.py",
        old="            or now - self._frame_at >= self._home.frame_total_seconds\n",
        new="",
        caught_by=(
            "mllp/test_listener.py::test_a_frame_that_drips_in_has_a_deadline_for_the_whole",
        ),
        quick=True,
    ),
    Bug(
        name="sent_as_received",
        promise="G2",
        breaks="what is sent at once is the message as it came, and not what the steps made of it",
        file="routes/planning.py",
        old="                    entry.content = planned.content if changed is None else changed\n",
        new="                    entry.content = planned.content\n",
        caught_by=(
            "crash/test_kill.py::"
            "test_nothing_acknowledged_is_lost_or_reordered_by_kills_at_random_moments",
        ),
        environ={"IFENGINE_KILLS": "4"},
        seconds=180,
    ),
    Bug(
        name="patient_of_any_authority",
        promise="G2",
        breaks="a merge looks at a part of the authority: two hospitals' numbers become one patient",
        file="transforms/steps/merge_patient.py",
        old="if one[:4] == prior[:4]}",
        new="if (one[0], one[3]) == (prior[0], prior[3])}",
        caught_by=(
            "transforms/test_steps_identity.py::test_another_universal_id_is_another_authority",
        ),
        quick=True,
    ),
    Bug(
        name="contradicting_merge_believed",
        promise="G2",
        breaks="a merge that reverses another is carried out",
        file="transforms/identity.py",
        old="    if prior in onward.identifiers:\n",
        new="    if False:\n",
        caught_by=(
            "engine/test_identity.py::"
            "test_a_merge_that_reverses_another_is_held_and_a_person_turns_it_round",
        ),
        seconds=120,
    ),
    Bug(
        name="frozen_number_rewritten",
        promise="G2",
        breaks="what names an identifier that nobody is sure about goes out rewritten",
        file="transforms/steps/resolve_patient.py",
        old="            check_frozen(memory, chain.identifiers)\n",
        new="",
        caught_by=(
            "transforms/test_steps_identity.py::"
            "test_a_frozen_identifier_anywhere_on_the_way_holds_the_message",
        ),
        quick=True,
    ),
    Bug(
        name="strangers_combined",
        promise="G2",
        breaks="results of two patients under one key become one message",
        file="routes/combining.py",
        old="    if _patient(first, identity, onward) != _patient(second, identity, onward):\n"
        '        return "PID-3"\n',
        new="",
        caught_by=(
            "engine/test_combining.py::test_another_patient_under_the_key_is_never_put_together",
        ),
        seconds=120,
    ),
    Bug(
        name="combined_twice",
        promise="G4",
        breaks="a replay of a combined message collects anew what waits by then",
        file="routes/collecting.py",
        old="    if before is not None:  # it was decided",
        new="    if False and before is not None:  # it was decided",
        caught_by=(
            "engine/test_combining.py::"
            "test_a_combined_message_whose_steps_fail_is_replayed_as_the_same_message",
        ),
        quick=True,
    ),
    Bug(
        name="parked_started_over_twice",
        promise="G4",
        breaks="a parked message whose time ends on its way back starts over once more",
        file="routes/parking.py",
        old=(
            "                if not message.leaving:\n                    found.append(inbox_id)\n"
        ),
        new="                found.append(inbox_id)\n",
        caught_by=(
            "routes/test_parking.py::"
            "test_time_that_ends_while_a_message_is_on_its_way_does_not_start_it_over_again",
        ),
        quick=True,
    ),
    Bug(
        name="collection_decided_twice",
        promise="G4",
        breaks="a message that is on its way back when its collection ends is decided once more",
        file="routes/pipeline.py",
        old="                if message.inbox_id in self.parking:  # not so where its collection ended meanwhile\n"
        "                    self._plan(message)\n",
        new="                self._plan(message)\n",
        caught_by=(
            "engine/test_combining.py::"
            "test_a_message_that_starts_over_while_its_collection_ends_is_decided_once",
        ),
        quick=True,
    ),
    Bug(
        name="correction_dropped_as_late",
        promise="G2",
        breaks="latest_only takes a corrected or withdrawn result for a late one",
        file="transforms/steps/latest_only.py",
        old="    if late and _never_late(rule, scope, status):\n        return False\n",
        new="",
        caught_by=(
            "transforms/test_steps_latest_only.py::"
            "test_a_result_that_replaces_or_removes_another_is_never_late",
        ),
        quick=True,
    ),
    Bug(
        name="yes_credited_to_two",
        promise="G6",
        breaks="one application acknowledgment settles every delivery of its id",
        file="routes/application_matching.py",
        old="    if not is_refusal and sum(len(waiting.open()) for waiting in concerned.values()) > 1:\n",
        new="    if False:\n",
        caught_by=(
            "engine/test_application_answers.py::"
            "test_two_messages_of_one_id_share_a_no_and_neither_gets_the_yes",
            "routes/channel_tests/test_later_answers.py::"
            "test_under_one_control_id_a_no_is_for_both_and_a_yes_for_neither",
        ),
        seconds=120,
    ),
    Bug(
        name="only_ack_answers",
        promise="G6",
        breaks="a no that comes as ORR or RRI is not heard",
        file="routes/intake.py",
        old="        if answers is None or not gate.may_answer:\n",
        new="        if answers is None or gate.kind is not InboxKind.ACKNOWLEDGMENT:\n",
        caught_by=(
            "engine/test_application_types.py::"
            "test_one_ahead_of_its_accept_acknowledgment_is_not_lost",
        ),
    ),
    Bug(
        name="answer_kept_from_its_channel",
        promise="G6",
        breaks="an ORR that is matched never reaches the channel that takes its type",
        file="routes/intake.py",
        old="        elif matched.is_known and not goes_on:\n",
        new="        elif matched.is_known:\n",
        caught_by=(
            "engine/test_application_types.py::test_a_repeated_one_counts_once_and_leaves_once",
        ),
    ),
    Bug(
        name="refused_answer_counts",
        promise="G6",
        breaks="what a listener refuses for its header makes a dead letter of a delivery",
        file="routes/gates.py",
        old="        if self.kind is not _REJECTED:\n",
        new="        if self.kind:\n",
        caught_by=(
            "engine/test_application_types.py::"
            "test_what_is_refused_for_its_header_does_not_count_until_it_is_right",
        ),
        quick=True,
    ),
    Bug(
        name="early_answer_of_another",
        promise="G6",
        breaks="an answer that came before a message was received is credited to it",
        file="routes/application_answers.py",
        old="        if found is None or found.message < settled.inbox_id:\n",
        new="        if found is None:\n",
        caught_by=(
            "engine/test_application_answers.py::"
            "test_an_early_answer_outlives_a_crash_and_an_old_one_is_not_taken_for_a_new_message",
        ),
        seconds=120,
    ),
    Bug(
        name="refused_and_sent_all_the_same",
        promise="G6",
        breaks="a sender is told no, and its message is replayed among the dead letters",
        file="routes/dead_letters.py",
        old="f.was_refused == sender_was_refused]",
        new="f]",
        caught_by=(
            "engine/test_pass_through.py::"
            "test_what_a_sender_was_refused_is_offered_to_nobody_unless_it_is_said",
        ),
        quick=True,
    ),
    Bug(
        name="merged_patient_replayed_as_stored",
        promise="G2",
        breaks="bytes that name a retired identifier are sent again as they were",
        file="routes/dead_letters.py",
        old="        if as_stored and self._names_a_retired_patient(item):\n",
        new="        if False:\n",
        caught_by=(
            "engine/test_identity.py::"
            "test_a_dead_letter_of_a_merged_patient_is_flagged_and_only_reprocessed",
        ),
        quick=True,
    ),
    Bug(
        name="older_message_replayed",
        promise="G3",
        breaks="a replay sends what is older than the last message of its patient",
        file="routes/dead_letters.py",
        old="        if any(newer.get(key, 0) > delivery.inbox_id for key in keys):\n",
        new="        if False:\n",
        caught_by=(
            "engine/test_admin_dead_letters.py::"
            "test_a_message_older_than_the_destinations_last_of_its_patient_is_held_back",
        ),
        quick=True,
    ),
    Bug(
        name="parked_message_purged",
        promise="G10",
        breaks="retention forgets a message that waits for a fact",
        file="routes/retention.py",
        old="    if reader.parked_message(row.inbox_id):\n        return False  # waits, whatever its plans say\n",
        new="",
        caught_by=("routes/test_retention.py::test_a_parked_message_stays_however_old_it_is",),
        quick=True,
    ),
    Bug(
        name="error_text_in_the_log",
        promise="G13",
        breaks="the log repeats what an error of a library says, which quotes the message",
        file="telemetry/log.py",
        old='        error=shortened(error.__name__ if error else ""),\n    )\n\n\ndef configure',
        new='        error=str(record.exc_info[1]) if record.exc_info else "",\n    )\n\n\ndef configure',
        caught_by=(
            "telemetry/test_log.py::"
            "test_a_foreign_logger_says_where_and_which_error_but_never_what",
        ),
        quick=True,
    ),
    Bug(
        name="two_versions_for_one_message",
        promise="G17",
        breaks="a message whose function answers after a reload is finished by the new rules half-way",
        file="routes/pipeline.py",
        old="        self._replies = known if asking is self.channel else {}\n",
        new="        self._replies = known\n",
        caught_by=(
            "engine/test_python_steps.py::"
            "test_each_message_is_processed_by_exactly_one_version_of_a_function",
        ),
        seconds=120,
    ),
    Bug(
        name="known_there_on_a_first_attempt",
        promise="G6",
        breaks="a refusal that says duplicate counts as a yes though the message was never sent before",
        file="routes/retry.py",
        old="            if possible_duplicate and _is_known_there(attempt, policy):\n",
        new="            if _is_known_there(attempt, policy):\n",
        caught_by=("routes/test_retry.py::test_a_205_on_a_first_attempt_is_a_refusal",),
        quick=True,
    ),
    Bug(
        name="sent_to_others_after_a_no",
        promise="G6",
        breaks="the other destinations get a message whose sender is then told no",
        file="routes/delivery.py",
        old="        return senders is not None and senders.is_gated(entry)\n",
        new="        return False\n",
        caught_by=(
            "engine/test_pass_through.py::"
            "test_the_other_destinations_wait_for_the_yes_and_get_nothing_after_a_no",
        ),
        quick=True,
    ),
    Bug(
        name="claim_kept_after_a_no",
        promise="G5",
        breaks="a message that was refused is a repetition of itself when its sender tries again",
        file="store/sqlite_write.py",
        old="        self._many(_RELEASE, batch.released)\n",
        new="",
        caught_by=(
            "engine/test_pass_through.py::"
            "test_a_refused_message_is_tried_anew_when_it_comes_again_with_its_lineage",
        ),
        quick=True,
    ),
    Bug(
        name="words_of_a_peer_unsealed",
        promise="G13",
        breaks="what a receiver writes about a message stands readable in the store",
        file="routes/delivery_rows.py",
        old="        detail = ring.seal(BlobKind.ATTEMPT, place, number, attempt.detail)\n",
        new="        detail = attempt.detail\n",
        caught_by=("corpus/test_canary.py::test_no_token_leaves_the_messages",),
        seconds=120,
    ),
    Bug(
        name="content_in_the_index",
        promise="G13",
        breaks="the search index holds what it finds messages by, and not a keyed hash of it",
        file="store/sealing.py",
        old="        return keyed.tag(text)\n\n    def digest",
        new="        return text\n\n    def digest",
        caught_by=("corpus/test_canary.py::test_no_token_leaves_the_messages",),
        seconds=120,
    ),
    Bug(
        name="replay_owed_twice",
        promise="G11",
        breaks="what a replay takes the place of is owed still",
        file="store/tally.py",
        old="                owed = _replaced(owed, origin, fate.destination, replays)\n",
        new="",
        caught_by=("admin/test_tally.py::test_the_listing_and_the_tally_of_a_history_agree",),
        quick=True,
    ),
    Bug(
        name="parked_by_the_wall_clock",
        promise="G12",
        breaks="a parked message waits by the wall clock: it goes too soon, or never",
        file="routes/parked_messages.py",
        old="            since_us, began = parts.steady.now_us(), parts.clock.monotonic()\n",
        new=(
            "            since_us, began = parts.clock.now_us(), parts.clock.monotonic()\n"
            "            received_us = since_us\n"
        ),
        caught_by=(
            "routes/test_parked_messages.py::"
            "test_a_wait_that_begins_after_the_wall_clock_was_set_is_as_long_as_any",
        ),
    ),
    Bug(
        name="digest_of_the_beginning",
        promise="G5",
        breaks="a message that differs at its end from the one before is a repetition of it",
        file="routes/intake.py",
        old="                entry.digest = ring.digest(content)\n",
        new="                entry.digest = ring.digest(content[:1000])\n",
        caught_by=(
            "engine/test_guard.py::test_a_difference_in_any_byte_makes_a_message_of_its_own",
        ),
        quick=True,
    ),
    Bug(
        name="version_of_another_time",
        promise="G17",
        breaks="a delivery carries the version of the rules that run now, not of those that made it",
        file="routes/planning.py",
        old="        self.version = parts.config_version  # of the rules whose plans it writes\n",
        new="        self.version = 1\n",
        caught_by=("engine/test_reload.py::test_many_reloads_under_load_lose_and_mix_nothing",),
        seconds=120,
    ),
)
