"""Bugs of what is stored: commits, syncs, seals, the audit, the balance."""

from seeded.what import Bug

BUGS = (
    Bug(
        name="synchronous_off",
        promise="G1",
        breaks="a commit returns while its pages are in the memory of the kernel alone",
        file="store/sqlite_schema.py",
        old='_pragma(connection, "synchronous", "full", FULL)',
        new='_pragma(connection, "synchronous", "off", 0)',
        caught_by=(
            "store/test_power_loss.py::"
            "test_after_a_power_cut_all_that_was_acknowledged_is_there_and_nothing_is_half",
        ),
        quick=True,
    ),
    Bug(
        name="ack_before_commit",
        promise="G1",
        breaks="the sender hears yes before its message is handed to the store",
        file="store/group.py",
        old="        self._store.submit(batch, finished)\n",
        new=(
            "        told, batch.done = batch.done, []\n"
            "        for tell in told:\n"
            "            tell()\n"
            "        self._store.submit(batch, finished)\n"
        ),
        caught_by=(
            "crash/test_power_images.py::"
            "test_whatever_a_cut_leaves_the_engine_finds_all_it_answered_for_and_sends_it",
            "crash/test_failpoints.py::"
            "test_a_kill_at_each_of_twelve_points_loses_and_reorders_nothing",
        ),
        seconds=180,
    ),
    Bug(
        name="unplanned_forgotten",
        promise="G1",
        breaks="what was acknowledged before a crash and not planned is passed over by the next start",
        file="routes/catching_up.py",
        old="        self._through = cursor if self.unplanned else counted\n",
        new="        self._through = counted\n",
        caught_by=(
            "crash/test_kill.py::"
            "test_nothing_acknowledged_is_lost_or_reordered_by_kills_at_random_moments",
        ),
        environ={"IFENGINE_KILLS": "10"},
        seconds=240,
    ),
    Bug(
        name="ack_before_commit_returns",
        promise="G1",
        breaks="the sender hears yes once COMMIT was asked for, before it returned",
        file="store/group.py",
        old=(
            "            self._loop.call_soon_threadsafe(self._finished, batch, error, started)\n"
            "\n"
            "        self._store.submit(batch, finished)\n"
        ),
        new=(
            "            if error is not None:\n"
            "                self._loop.call_soon_threadsafe(self._fail, error)\n"
            "\n"
            "        self._store.submit(batch, finished)\n"
            "        self._loop.call_soon(self._finished, batch, None, started)\n"
        ),
        caught_by=(
            "crash/test_power_images.py::"
            "test_whatever_a_cut_leaves_the_engine_finds_all_it_answered_for_and_sends_it",
        ),
        seconds=120,
    ),
    Bug(
        name="told_inside_the_transaction",
        promise="G1",
        breaks="the store tells of a commit while its transaction is open",
        file="store/sqlite.py",
        old='        run("COMMIT")\n',
        new=(
            "        if job.finished is not None:\n"
            "            job.finished(None)\n"
            '        run("COMMIT")\n'
        ),
        caught_by=("store/test_sqlite.py::test_nobody_hears_of_a_commit_before_it_returned",),
        quick=True,
    ),
    Bug(
        name="folders_not_synced",
        promise="G1",
        breaks="the entry of a new folder is not on stable storage: a cut takes the whole store",
        file="store/folders.py",
        old="        sync_folder(made.parent)\n",
        new="",
        caught_by=(
            "store/test_folders.py::test_every_folder_that_is_made_is_entered_on_stable_storage",
        ),
        quick=True,
    ),
    Bug(
        name="seal_without_row_id",
        promise="G2",
        breaks="the associated data misses the row id: content moved to another row opens there",
        file="store/sealing.py",
        old='_PLACE = struct.Struct(">BQQ").pack\n',
        new=(
            '_packed = struct.Struct(">BQQ").pack\n'
            "\n"
            "\n"
            "def _PLACE(kind: int, a: int, b: int) -> bytes:\n"
            "    return _packed(kind, 0, b)\n"
        ),
        caught_by=(
            "routes/test_outbox_loading.py::test_a_row_that_was_moved_to_another_message_does_not_open",
        ),
        quick=True,
    ),
    Bug(
        name="damage_believed",
        promise="G2",
        breaks="pages have no checksum: a flipped bit in a row is believed",
        file="store/sqlite_checksums.py",
        old="RESERVED_BYTES = 8  #",
        new="RESERVED_BYTES = 0  #",
        also=(
            (
                '    return str(connection.pragma("checksum_verification")) == "1"\n',
                "    return True\n",
            ),
        ),
        caught_by=("store/test_corruption.py::test_damaged_bytes_are_found_or_harmless",),
        environ={"IFENGINE_CORRUPTIONS": "400"},
        seconds=120,
    ),
    Bug(
        name="log_not_missed",
        promise="G2",
        breaks="a log that was cut or exchanged is taken for the whole one",
        file="store/sqlite_mark.py",
        old="        if found < needed:\n",
        new="        if False:\n",
        caught_by=("store/test_corruption.py::test_a_log_that_was_cut_is_refused",),
        quick=True,
    ),
    Bug(
        name="log_begun_anew_unnoted",
        promise="G2",
        breaks="what is moved beside the commits lets the log begin anew before the note says so",
        file="store/sqlite_mover.py",
        old='        self._pin.execute("BEGIN")\n',
        new="",
        caught_by=(
            "store/test_checkpoints.py::"
            "test_the_log_does_not_start_again_before_the_writer_took_note",
        ),
        quick=True,
    ),
    Bug(
        name="pages_moved_without_a_sync",
        promise="G1",
        breaks="the log begins anew while pages that were moved are in the memory of the kernel alone",
        file="store/sqlite_mover.py",
        # one of the two would do: only without both are they lost
        old="            self._connection = open_mover(path, vfs)\n",
        new="            self._connection = open_mover(path, vfs)\n"
        '            self._connection.pragma("synchronous", "off")\n',
        also=(("            sync(self._file)\n", "            pass\n"),),
        caught_by=(
            "store/test_power_loss.py::"
            "test_after_a_power_cut_all_that_was_acknowledged_is_there_and_nothing_is_half",
        ),
        seconds=90,
    ),
    Bug(
        name="failed_move_passed_over",
        promise="G8",
        breaks="a page that could not be moved into the database is told to nobody",
        file="store/sqlite_mover.py",
        old="                self._error = cause\n",
        new="                del cause\n",
        caught_by=(
            "store/test_checkpoints.py::test_a_failed_sync_of_what_was_moved_ends_the_store[EIO]",
        ),
        seconds=180,
    ),
    Bug(
        name="repeat_by_id_alone",
        promise="G5",
        breaks="a message under a known id is a repetition whatever it says",
        file="store/guard.py",
        old="held.contents <= MOST_CONTENTS_PER_ID and held.digest == entry.digest",
        new="held.contents <= MOST_CONTENTS_PER_ID",
        caught_by=(
            "chaos/test_intake_truth.py::"
            "test_an_id_that_comes_again_with_another_body_is_never_dropped",
        ),
    ),
    Bug(
        name="repeat_by_control_id_only",
        promise="G5",
        breaks="the key of a repetition is MSH-10 alone: two senders share their ids",
        file="routes/intake.py",
        old=(
            "                header.sending_application,\n"
            "                header.sending_facility,\n"
            "                header.control_id,\n"
        ),
        new="                header.control_id,\n",
        caught_by=("engine/test_guard.py::test_two_senders_may_use_the_same_control_id",),
        quick=True,
    ),
    Bug(
        name="repetition_stored_again",
        promise="G5",
        breaks="a retransmission is a message of its own",
        file="store/guard.py",
        old="GuardVerdict.TAGGED if entry.tag_only else GuardVerdict.DUPLICATE",
        new="GuardVerdict.TAGGED",
        caught_by=(
            "chaos/test_intake_truth.py::"
            "test_an_answer_cut_at_any_byte_is_asked_for_again_and_stored_once",
        ),
    ),
    Bug(
        name="sync_tried_again",
        promise="G8",
        breaks="a commit that failed is tried again, on pages that the kernel took for clean",
        file="store/sqlite.py",
        old="            try:\n                self._transact(job)\n",
        new=(
            "            try:\n"
            "                try:\n"
            "                    self._transact(job)\n"
            "                except apsw.Error:\n"
            "                    if self._connection.in_transaction:\n"
            '                        self._connection.execute("ROLLBACK")\n'
            "                    self._transact(job)\n"
        ),
        caught_by=(
            "store/test_power_loss.py::"
            "test_whichever_call_fails_nothing_is_acknowledged_that_is_not_there",
        ),
        seconds=120,
    ),
    Bug(
        name="store_goes_on_after_a_failure",
        promise="G8",
        breaks="after a failed commit the next one is taken as if nothing had been",
        file="store/sqlite.py",
        old="            self._failure = failure\n",
        new="            pass\n",
        caught_by=(
            "store/test_sqlite.py::TestSqliteStore::"
            "test_a_batch_that_fails_leaves_nothing_and_ends_the_store",
        ),
        quick=True,
    ),
    Bug(
        name="failure_told_as_success",
        promise="G8",
        breaks="who waits for a commit that failed hears yes",
        file="store/group.py",
        old="        if error is not None:\n            self._fail(error)\n            return\n",
        new="",
        caught_by=(
            "engine/test_intake.py::"
            "test_a_commit_that_fails_is_answered_with_nothing_and_stops_the_engine",
        ),
        quick=True,
    ),
    Bug(
        name="full_disk_told_as_done",
        promise="G8",
        breaks="a commit that found no room on the disk is told as one that went through",
        file="store/sqlite.py",
        old="                if not self.space.ran_out():\n                    raise\n",
        new="                self.space.ran_out()\n                return\n",
        caught_by=(
            "store/test_space.py::"
            "test_whichever_write_finds_no_room_the_transaction_waits_and_is_there_once",
        ),
        seconds=120,
    ),
    Bug(
        name="ballast_not_released",
        promise="G8",
        breaks="on a full disk the ballast is kept: not even delivery goes on",
        file="store/space.py",
        old="        if self.release():\n            return not self._given_up.is_set()\n",
        new="",
        caught_by=(
            "crash/test_full_disk.py::"
            "test_on_a_full_disk_delivery_goes_on_and_everything_says_what_is_wrong",
        ),
        seconds=180,
    ),
    Bug(
        name="cache_believed_after_a_failed_sync",
        promise="G8",
        breaks="after the storage failed the next start reads what the kernel took for clean",
        file="store/sqlite.py",
        old="                forget_cached(folder)\n",
        new="                pass\n",
        caught_by=("store/test_suspect.py::test_a_disk_that_still_fails_refuses_the_start",),
        quick=True,
    ),
    Bug(
        name="failure_leaves_no_marker",
        promise="G8",
        breaks="a failed sync leaves no sign, and the next start trusts the store",
        file="store/sqlite.py",
        old="            self.failing(failure)\n",
        new="",
        caught_by=(
            "store/test_suspect.py::test_a_failing_sync_leaves_the_marker_and_a_full_disk_does_not",
        ),
        quick=True,
    ),
    Bug(
        name="tally_off_by_one",
        promise="G11",
        breaks="the first message after a look is counted neither as owed nor as standing",
        file="store/account.py",
        old="            found.seen_inbox = max(0, self._first - 1)\n",
        new="            found.seen_inbox = max(1, self._first)\n",
        caught_by=(
            "store/test_account.py::test_every_history_in_memory_is_even_and_agrees_with_the_model",
        ),
        quick=True,
    ),
    Bug(
        name="purged_without_their_end",
        promise="G11",
        breaks="what is purged is not counted with how it ended",
        file="store/sqlite_write.py",
        old="        self._run_many(_PURGED, [(*place, units) for place, units in ends.items()])\n",
        new="        del ends\n",
        caught_by=("store/test_account.py::test_long_histories_on_disk_are_even_at_every_look",),
        seconds=90,
    ),
    Bug(
        name="audit_in_a_second_transaction",
        promise="G14",
        breaks="an act is durable before the record that says who did it",
        file="store/sqlite.py",
        old=(
            "            head = self._writer.apply(job.batch)\n"
            "            before_commit(job.batch)\n"
        ),
        new=(
            "            audits, job.batch.audits = job.batch.audits, []\n"
            "            self._writer.apply(job.batch)\n"
            "            before_commit(job.batch)\n"
            '            run("COMMIT")\n'
            '            run("BEGIN IMMEDIATE")\n'
            "            head = self._writer._apply_audits(audits) if audits else head\n"
        ),
        caught_by=(
            "store/test_power_loss.py::"
            "test_after_a_power_cut_all_that_was_acknowledged_is_there_and_nothing_is_half",
        ),
        seconds=90,
    ),
    Bug(
        name="audit_link_without_its_text",
        promise="G14",
        breaks="the chain does not cover what the record says",
        file="store/audit.py",
        old="    parts += (_LENGTH.pack(len(record.detail)), record.detail)\n",
        new="",
        caught_by=(
            "store/test_audit.py::test_a_thousand_random_tamperings_of_a_real_file_are_found",
        ),
        quick=True,
    ),
    Bug(
        name="giant_answered_before_its_pieces",
        promise="G1",
        breaks="a giant is stored and answered while the pieces of its body are still being written",
        file="routes/giants.py",
        old="    giant = parts.numbers.next_giant()\n    for n, piece in enumerate(body.pieces()):\n",
        new=(
            "    giant = parts.numbers.next_giant()\n"
            "    pieces = list(body.pieces())\n"
            "    body.put_away(giant)\n"
            "    parts.spawn(_write_pieces(parts, giant, pieces))\n"
            "\n"
            "\n"
            "async def _write_pieces(parts: Parts, giant: int, pieces: list[memoryview]) -> None:\n"
            "    for n, piece in enumerate(pieces):\n"
        ),
        also=(
            (
                "            await parts.group.durable()\n    body.put_away(giant)\n",
                "            await parts.group.durable()\n",
            ),
        ),
        caught_by=(
            "crash/test_giant_kills.py::"
            "test_a_kill_between_the_pieces_of_a_giant_and_its_message_leaves_nothing_of_it",
        ),
        seconds=120,
    ),
    Bug(
        name="pieces_of_nobody_stay",
        promise="G9",
        breaks="what a kill left of a giant is found by no start: content stays that nobody can purge",
        file="store/sqlite_giants.py",
        old="        self._left = deque(giants.orphans())\n",
        new="        self._left: deque[int] = deque()\n",
        caught_by=(
            "store/test_sqlite.py::TestSqliteStore::"
            "test_pieces_of_a_message_that_never_came_are_shown_nowhere_and_gone_after_a_start",
            "store/test_power_loss.py::"
            "test_after_a_power_cut_all_that_was_acknowledged_is_there_and_nothing_is_half",
        ),
        seconds=120,
    ),
    Bug(
        name="pieces_of_a_repeat_stay",
        promise="G9",
        breaks="the body of a giant that came twice stays in the store beside its message",
        file="store/sqlite_write.py",
        old="                self.gone += [entry.giant] if entry.giant else []\n",
        new="",
        caught_by=(
            "store/test_sqlite.py::TestSqliteStore::"
            "test_pieces_of_a_repeat_and_of_what_was_given_up_are_let_go",
        ),
        quick=True,
    ),
    Bug(
        name="giant_in_one_commit",
        promise="G7",
        breaks="all pieces of a giant ride with one commit: whoever waits for it waits for all of them",
        file="routes/giants.py",
        old="            await parts.group.durable()\n    body.put_away(giant)\n",
        new="            parts.group.soon()\n    body.put_away(giant)\n",
        caught_by=("engine/test_giants.py::test_no_commit_carries_more_of_giants_than_one_piece",),
        quick=True,
    ),
    Bug(
        name="giant_purged_in_one_step",
        promise="G7",
        breaks="all pieces of a purged giant are removed in one transaction",
        file="store/sqlite_giants.py",
        old="SWEPT_PIECES = 2  # in one transaction\n",
        new="SWEPT_PIECES = 1_000_000\n",
        caught_by=(
            "store/test_sqlite_giants.py::test_others_commit_while_a_large_message_is_purged",
        ),
        quick=True,
    ),
)
