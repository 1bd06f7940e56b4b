"""One error class with stable codes; docs/errors.md lists them and a test keeps the two equal."""

from typing import NamedTuple


class ErrorKind(NamedTuple):
    """HTTP status of a code, and what the reader should do about it."""

    status: int
    remedy: str


# code -> what to do. A code is never renamed once released: clients match on it.
ERRORS: dict[str, ErrorKind] = {
    "corpus.columns_missing": ErrorKind(422, "Name the columns in the settings (question, answer), or rename them."),
    "corpus.duplicate_id": ErrorKind(422, "Make the ids of the corpus unique, or name another id column."),
    "corpus.empty": ErrorKind(422, "Give a corpus with at least one row."),
    "corpus.malformed": ErrorKind(422, "Correct the row that the message names."),
    "corpus.no_fresh_people": ErrorKind(422, "Draw with another seed, or take a hold-out of your own data."),
    "corpus.not_found": ErrorKind(404, "Check the path; a data set of the hub is written hub:owner/name."),
    "corpus.unknown_format": ErrorKind(
        422, "Give JSONL, JSON, CSV, Parquet, a `datasets` directory or hub:owner/name."
    ),
    "forget_set.empty": ErrorKind(
        422, "Nothing is left to forget: close the ticket as nothing found, or confirm matches."
    ),
    "forget_set.overlap": ErrorKind(500, "A fault in Lethe: the sets of one ticket must be disjoint. Report it."),
    "forget_set.unknown_record": ErrorKind(422, "Decide on records that the search of this ticket found."),
    "forget_set.whole_corpus": ErrorKind(422, "The identifiers fit everything: give ones that only this person has."),
    "subject.index_broken": ErrorKind(409, "Build the index anew: delete its file and search again."),
    "subject.index_stale": ErrorKind(409, "Build the index of this corpus anew, or update it: the corpus has changed."),
    "subject.no_identifier": ErrorKind(422, "Give at least one of --email, --phone, --name, --id or --address."),
    "lifecycle.forbidden": ErrorKind(
        409, "Look at the current status: only the events that the message lists apply now."
    ),
    "lifecycle.guarded": ErrorKind(409, "Do first what the message says is missing, then try again."),
    "suppression.not_restricted": ErrorKind(409, "Nothing to do: the ticket is not restricted."),
    "suppression.off": ErrorKind(409, "Switch serving.suppression on and restart the intake, then restrict it."),
    "suppression.rule_invalid": ErrorKind(500, "A fault in Lethe: a rule of suppression has another form. Report it."),
    "ticket.malformed": ErrorKind(422, "Correct the fields named in the details and send the ticket again."),
    "ticket.unreadable": ErrorKind(422, "Give one JSON object in UTF-8 of at most 64 KiB."),
    "policy.unknown_regime": ErrorKind(
        422, "Use one of the regimes that the message lists, or name a pack by its path."
    ),
    "policy.pack_not_found": ErrorKind(404, "Name a built-in pack (`lethe policy list`) or the path of a YAML file."),
    "policy.pack_invalid": ErrorKind(422, "Run `lethe policy check PACK` and mend every fault that it names."),
    "policy.condition_failed": ErrorKind(
        422, "Mend the named rule: its condition must be true or false for every ticket."
    ),
    "policy.unknown_ground": ErrorKind(
        422, "Use one of the pack's grounds (`lethe policy show PACK`), or leave it out."
    ),
    "policy.unknown_zone": ErrorKind(422, "Give an IANA time zone such as Europe/Vienna."),
    "policy.extension_refused": ErrorKind(
        409, "Extend before the first period ends, give a reason, and tell the subject first."
    ),
    "report.changed": ErrorKind(409, "Build the report anew, or ask who changed it: it is not what was written."),
    "report.not_found": ErrorKind(404, "Check the ticket's id; a report is written when its run ends."),
    "report.personal_data": ErrorKind(500, "Give the report codes, ids and figures only; nothing was written."),
    "report.invalid": ErrorKind(422, "Build the report anew with `lethe report TICKET`."),
    "control.cancelled": ErrorKind(409, "Train the control again when there is time: nothing of it was kept."),
    "control.corpus_not_generated": ErrorKind(
        422, "People can be drawn for a corpus of `lethe corpus make` only: take a hold-out of your own data."
    ),
    "control.no_recipe": ErrorKind(
        422,
        "Train the base without these records yourself and take it in with `lethe control add DIR`; without a control "
        "RelEx with hold-out twins takes its place.",
    ),
    "control.not_a_control": ErrorKind(422, "Give a model that was trained without the records, not the base itself."),
    "control.not_found": ErrorKind(404, "See `lethe control list` for the names."),
    "control.not_memorised": ErrorKind(422, "Train it again with another --seed: a weak control proves nothing."),
    "control.nothing_left": ErrorKind(422, "Leave out one subject's records, not the whole corpus."),
    "control.nothing_left_out": ErrorKind(422, "Name the records: --ticket, --person or --without."),
    "control.other_corpus": ErrorKind(
        422, "Give the corpus that the base was trained on, or --changed-corpus: the card and the report then say so."
    ),
    "control.other_tokenizer": ErrorKind(
        422, "Train the control with the base's own tokenizer: other tokens have other likelihoods."
    ),
    "control.unknown_records": ErrorKind(422, "Give ids of records of this corpus, one a line."),
    "control.unreadable": ErrorKind(422, "Delete the control's directory and train or add it again."),
    "bench.data_not_found": ErrorKind(404, "Check the path and the names of the data set's files (docs/benchmark.md)."),
    "bench.data_malformed": ErrorKind(422, "Correct the row or the parts that the message names."),
    "bench.no_people": ErrorKind(422, "Give rows whose questions name the people that they are about."),
    "bench.probes_overlap": ErrorKind(500, "A fault in Lethe: a phrasing is both trained and measured. Report it."),
    "bench.bad_settings": ErrorKind(422, "Correct the options that the message names."),
    "study.bad_settings": ErrorKind(422, "Correct the options that the details name."),
    "study.nobody_left": ErrorKind(422, "Give a corpus with more people than are forgotten (--people)."),
    "study.other_plan": ErrorKind(409, "Give another --out, or settings and code that the study was begun with."),
    "unlearn.unknown_method": ErrorKind(422, "Choose one of the methods that the message lists."),
    "verify.unknown_attack": ErrorKind(422, "Choose one of the attacks that the message lists."),
    "unlearn.secret_in_rows": ErrorKind(
        422, "Augment again: a row whose likelihood is raised holds what it should make the model forget."
    ),
    "unlearn.no_rows": ErrorKind(
        422, "Augment the forget set first: at least one forget row and one retain row are needed."
    ),
    "unlearn.disk_full": ErrorKind(507, "Free some space in LETHE_HOME, then retry the ticket."),
    "unlearn.diverged": ErrorKind(
        500, "Lower the learning rate, or let the run start from the base instead of the last release."
    ),
    "unlearn.cancelled": ErrorKind(409, "Nothing was released. File or approve the ticket again to start anew."),
    "unlearn.bad_settings": ErrorKind(422, "Correct the settings named in the details."),
    "unlearn.too_many_processes": ErrorKind(422, "Lower unlearning.processes to the number of GPUs of the worker."),
    "base.not_memorised": ErrorKind(
        500,
        "Train longer (--epochs) or on more phrasings of each fact; nothing can be shown to be forgotten otherwise.",
    ),
    "base.not_found": ErrorKind(
        404, "Name a directory with a Hugging Face causal language model, or one on the hub that can be reached."
    ),
    "base.no_chat_template": ErrorKind(422, "Use an instruction-tuned model, or add a chat_template to its tokenizer."),
    "adapter.not_loadable": ErrorKind(
        409, "Check that the adapter was trained on this base; import or train it again."
    ),
    "verify.benign_not_benign": ErrorKind(
        422, "Leave the rows named in the details out of the benign data: they are about somebody who is forgotten."
    ),
    "verify.bad_logits": ErrorKind(
        422, "The model has diverged or its weights are damaged: train again with a lower learning rate."
    ),
    "verify.misaligned": ErrorKind(422, "Give as many scores, texts or twins as there are items, in the same order."),
    "verify.bad_probes": ErrorKind(
        422, "One JSON object a line with question and answer; the details name the lines that are none."
    ),
    "verify.bad_scores": ErrorKind(
        422, "Give a file that `lethe verify scores TICKET --out FILE` wrote, unchanged, or a ticket's id."
    ),
    "verify.other_scores": ErrorKind(
        409, "Compare the digest with that in the ticket's report; the scores may be of another verification."
    ),
    "verify.no_probes": ErrorKind(422, "Give at least one forget probe; corpora without probes get them from records."),
    "verify.model_unavailable": ErrorKind(
        422, "Give a local path or a reachable hub name, or leave the setting out: offline judges take its place."
    ),
    "score.unreadable": ErrorKind(404, "Check the path and its permissions; the file must be UTF-8."),
    "score.unwritable": ErrorKind(422, "Name a file in a directory that is there and may be written to."),
    "score.malformed": ErrorKind(
        422, 'Give {"forget": [...], "retain": [...]}, or one list per file with --forget and --retain.'
    ),
    "score.row_invalid": ErrorKind(
        422, "Each row needs the texts query, ground_truth and generated_response; the details name list and index."
    ),
    "score.empty": ErrorKind(422, "Give at least one row under forget or retain."),
    "corpus.not_splittable": ErrorKind(
        422, "Give the corpus as one JSONL or Parquet file on a disk that the whole cluster has, or unset ray.address."
    ),
    "ray.not_installed": ErrorKind(
        500,
        "Install the extra `ray` from the checkout (pip install -c constraints.txt -e '.[ray]'), or unset ray.address.",
    ),
    "ray.unavailable": ErrorKind(503, "Look at ray.address and at the cluster, or unset it."),
    "runner.died": ErrorKind(500, "The run is resumed by the reaper; the service's log names signal and memory."),
    "corpus.not_set": ErrorKind(409, "Set corpus.path in lethe.toml or LETHE_CORPUS__PATH."),
    "seal.item_missing": ErrorKind(410, "It was deleted when the ticket was closed, or never made."),
    "verdict.rejected": ErrorKind(422, "Read the report's reasons, change method or settings, then retry the ticket."),
    "desired_state.parent": ErrorKind(409, "Retry the ticket: the next run starts from what is served now."),
    "demo.nobody_left": ErrorKind(409, "Run the demo with --fresh, or with more --people."),
    "serving.refused": ErrorKind(502, "Read the serving log; the model name must be a public one."),
    "jobs.given_up": ErrorKind(500, "It killed its worker too often: read the runner's log, then retry the ticket."),
    "up.not_ready": ErrorKind(503, "Read the named log; most often a port is taken or the base is still loading."),
    "artefacts.refused": ErrorKind(
        422, "Take them from the host that sealed them; find out who could write into the object store."
    ),
    "artefacts.unreachable": ErrorKind(
        503, "Check the address and its credentials; s3:// needs the package s3fs (the extra `s3` of the checkout)."
    ),
    "augment.nothing_to_forget": ErrorKind(422, "Check the subject's identifiers: no record of the corpus matched."),
    "augment.no_name": ErrorKind(422, "Give the subject's name in the ticket: the vague answers have to keep it."),
    "augment.bad_settings": ErrorKind(422, "Correct the amounts named in the details."),
    "augment.probe_in_rows": ErrorKind(
        500, "Keep the held-out questions out of the records that are given as neighbours, retain and generic rows."
    ),
    "augment.too_few_rows": ErrorKind(422, "Give more neighbour records, or raise the amounts of the augmenter."),
    "augment.no_answer": ErrorKind(502, "Look at the model's log: it gave no answer for this question."),
    "augment.leak_remains": ErrorKind(
        422, "The augmenter's answers still gave the fact away after the last round: use another model or the template."
    ),
    "augment.subject_missing": ErrorKind(422, "The augmenter's answers dropped the person's name: use another model."),
    "augment.bad_length": ErrorKind(422, "The augmenter's answers are too short or too long: use another model."),
    "augment.duplicate": ErrorKind(422, "The augmenter repeats itself: raise its temperature or use another model."),
    "augment.invented_detail": ErrorKind(
        422, "The augmenter's answers hold numbers or addresses of their own: use another model."
    ),
    "augment.not_verified": ErrorKind(422, "The verifying model did not clear the answers: use another model."),
    "augment.llm_unavailable": ErrorKind(503, "Start the augmenting model and run again; answered questions are kept."),
    "augment.endpoint_is_target": ErrorKind(
        422, "Name a model that is not the one being unlearned: it would be taught by its own memory."
    ),
    "augment.external_not_allowed": ErrorKind(
        422, "Use an address in your own network, or set allow_external: the forgotten data then leaves the house."
    ),
    "augment.unreadable": ErrorKind(422, "Make the augmented set anew: its file is cut or of another version."),
    "checks.quarantined": ErrorKind(
        422, "Read which expectations failed and on which rows; augment again with other settings."
    ),
    "audit.personal_data": ErrorKind(
        500, "Put an id, a digest, a code or a number into the audit entry, never a text."
    ),
    "audit.unreadable": ErrorKind(422, "Give a file that `lethe audit export` or `lethe audit checkpoint` wrote."),
    "audit.stamp_invalid": ErrorKind(
        422, "Give the stamp of this log and the root of the authority that made it; else the stamp proves nothing."
    ),
    "audit.stamp_refused": ErrorKind(
        502, "Check the authority's address, or ask another one; the log itself is right."
    ),
    "audit.empty": ErrorKind(404, "Nothing has been recorded yet: there is nothing to export or to sign."),
    "jobs.not_launched": ErrorKind(503, "Start the service first: jobs run only in a launched process."),
    "jobs.unknown": ErrorKind(404, "Check the id of the job with `lethe run list`."),
    "jobs.personal_data": ErrorKind(
        500, "Give a job ids and digests only; let its steps read the rest from the store."
    ),
    "jobs.migration_needed": ErrorKind(500, "Run `lethe init`: it makes or migrates the database of the jobs."),
    "keys.services_running": ErrorKind(409, "Stop the services on every host, replace the key, then start them again."),
    "keys.copied": ErrorKind(
        409,
        "Rotate on the safe machine that keeps the keys, put them into the Secret that `keys.existingSecret` names, "
        "then change `keys.revision`: docs/howto/keys.md.",
    ),
    "seal.other_kek": ErrorKind(
        500, "Run lethe key rotate-kek again: it was cut off; or restore the key that the store was backed up with."
    ),
    "keys.malformed": ErrorKind(500, "Restore keys/ from its backup; a damaged key is never replaced silently."),
    "keys.missing": ErrorKind(500, "Run `lethe init` on the machine that signs; give others trust.json only."),
    "keys.permissions": ErrorKind(500, "chmod 600 the key file and ask who could have read it; then rotate the key."),
    "release.not_found": ErrorKind(404, "Check the path, or list what there is with `lethe release list`."),
    "release.files": ErrorKind(
        422, "A release holds five files and nothing else; get it anew from where it was sealed."
    ),
    "release.pickle": ErrorKind(422, "Releases hold safetensors only: a pickle could run code when it is loaded."),
    "release.digest": ErrorKind(422, "The files are not those that were signed: get the release anew from its source."),
    "release.signature": ErrorKind(422, "The release was changed or never signed: get it anew from its source."),
    "release.unknown_key": ErrorKind(422, "Give this machine the trust.json of the installation that signed it."),
    "release.key_retired": ErrorKind(422, "Sign the release anew with the current key."),
    "release.trust": ErrorKind(422, "Give the trust.json that `lethe init` writes into keys/."),
    "release.card": ErrorKind(422, "Seal the adapter anew with this version of Lethe."),
    "release.wrong_base": ErrorKind(409, "Serve the base, tokenizer and dtype that the release was verified on."),
    "release.verdict": ErrorKind(422, "Only an adapter whose verdict is 'accepted' can be released or served."),
    "release.below_floor": ErrorKind(422, "Use a pack whose thresholds reach this server's floor, and run it again."),
    "release.watermark": ErrorKind(409, "Release an adapter that carries every closed ticket, by a new run."),
    "release.non_finite": ErrorKind(422, "The training went wrong: run it again."),
    "release.weights": ErrorKind(422, "Weights are safetensors of float types; seal the adapter anew."),
    "release.config": ErrorKind(422, "Only a plain LoRA is served: no bias, no DoRA, no saved modules."),
    "release.rank": ErrorKind(422, "Train with a rank within the engine's limit."),
    "release.shape": ErrorKind(422, "Train the adapter on the base that is served."),
    "release.no_targets": ErrorKind(422, "Use a base of an architecture that LoRA can adapt."),
    "serving.not_ready": ErrorKind(503, "Try again soon; `lethe release list` shows what the replicas serve."),
    "serving.engine_version": ErrorKind(503, "Install a tested vLLM, or name this one in serving.vllm.allow_version."),
    "serving.engine_down": ErrorKind(503, "The gateway starts the engine again; its log says why it ended."),
    "serving.engine_failed": ErrorKind(503, "Try again; the engine's log says what failed."),
    "serving.interrupted": ErrorKind(503, "Ask again: the answer was cut off by a swap or by the engine's end."),
    "serving.load_failed": ErrorKind(500, "The engine's log says why the adapter does not load; release it anew."),
    "serving.unload_failed": ErrorKind(500, "Restart the replica: the old adapter is still in its engine."),
    "serving.probe_failed": ErrorKind(422, "The adapter loads but does not answer: run it again."),
    "serving.store_behind": ErrorKind(409, "The store is older than what was served: restore a newer one."),
    "serving.statement_damaged": ErrorKind(500, "Restore HOME/releases/desired-*.json, or run lethe recover."),
    "serving.memory_damaged": ErrorKind(500, "Restore HOME/serving from a backup that is not older than the store."),
    "serving.busy": ErrorKind(429, "Try again soon, or raise serving.max_concurrency if the engine has room."),
    "serving.rate_limited": ErrorKind(429, "Ask less often: the headers say when; serving.rate_per_minute is a key's."),
    "serving.timeout": ErrorKind(504, "Ask for fewer tokens, or raise serving.request_timeout_s."),
    "serving.suppression_down": ErrorKind(503, "The suppression rules cannot be applied; the serving log says why."),
    "serving.logprobs_suppressed": ErrorKind(400, "Ask without logprobs while a person is suppressed."),
    "swap.refused": ErrorKind(409, "The details name each replica and why it refuses; the old release still serves."),
    "swap.timeout": ErrorKind(504, "The details name the replicas that are behind; look at their logs."),
    "swap.trial_failed": ErrorKind(409, "The release did worse on its share of the traffic; the old one still serves."),
    "swap.superseded": ErrorKind(409, "Somebody else changed the desired state: read it again."),
    "swap.probes_failed": ErrorKind(
        409, "The people stay suppressed; read the figures with `lethe release show`, then retry the ticket."
    ),
    "swap.probe_unanswered": ErrorKind(503, "A replica does not answer probes: look at its log; it is tried again."),
    "release.busy": ErrorKind(409, "Wait until the swap that is under way has ended, then order it again."),
    "release.live": ErrorKind(409, "Nothing to do: this release is the one that is served."),
    "release.not_coverable": ErrorKind(
        409, "Choose a release that covers the tickets in the details, or one whose people can be suppressed."
    ),
    "release.order_not_found": ErrorKind(404, "Check the order's id."),
    "release.newer": ErrorKind(422, "A rollback goes to an older release; use `lethe release promote` for others."),
    "recover.nothing": ErrorKind(404, "There is no signed statement and no memory of a replica to recover from."),
    "recover.unsigned": ErrorKind(
        422, "Put back the release that the statement or memory names; nothing unsigned is taken in."
    ),
    "internal": ErrorKind(500, "See the service's log for the trace id; report it if it repeats."),
    # store, keys, intake
    "auth.expired": ErrorKind(401, "The key has expired: lethe key rotate ID, and use the new one."),
    "auth.forbidden": ErrorKind(
        403, "Use a key with the scope that the details name (lethe key create --name … --scope …)."
    ),
    "auth.invalid": ErrorKind(401, "Use a key that lethe key list shows as active."),
    "auth.key_not_found": ErrorKind(404, "See lethe key list for the ids."),
    "auth.missing": ErrorKind(401, "Send the header Authorization: Bearer KEY; lethe key create makes one."),
    "auth.route_without_scope": ErrorKind(403, "A fault in Lethe: the route must declare a scope. Report it."),
    "auth.account_not_found": ErrorKind(404, "See lethe account list for the ids."),
    "auth.blocked": ErrorKind(403, "Ask whoever runs this installation: lethe account unblock ID ends a block."),
    "duplicate.refused": ErrorKind(
        409, "The details say why: verify both identities first, or answer the two tickets each on its own."
    ),
    "exemption.invalid": ErrorKind(422, "Give --category or --record, and a --review-by that lies ahead."),
    "exemption.not_found": ErrorKind(404, "See lethe ticket exemptions ID."),
    "forget_set.exempt": ErrorKind(409, "Everything about the person is kept: send the denial with its provisions."),
    "policy.unknown_exemption": ErrorKind(422, "Use one of the pack's exemptions (`lethe policy show PACK`)."),
    "letter.not_due": ErrorKind(409, "See lethe ticket show: a letter goes with what was decided."),
    "letter.no_address": ErrorKind(
        409, "Set mail.recipients for a recipient; of a person without an address: `lethe letter text`, then post."
    ),
    "letter.undeliverable": ErrorKind(
        422, "Correct the address, or send it by post and record it: `lethe letter sent`."
    ),
    "letter.sent": ErrorKind(409, "Nothing to do: the text that went out is kept."),
    "notice.not_found": ErrorKind(404, "See lethe letter list TICKET or lethe recipient due."),
    "notice.refused": ErrorKind(409, "Record it once, after it went out: by email, post or portal."),
    "notice.in_hand": ErrorKind(
        409, "Look whether it arrived, then record it: `lethe letter sent`, or `lethe letter not-sent` to send anew."
    ),
    "recipient.exists": ErrorKind(409, "Choose another code, or remove the recipient first."),
    "recipient.not_found": ErrorKind(404, "See lethe recipient list."),
    "oidc.login_failed": ErrorKind(400, "Begin the log-in again; it lasts ten minutes and one browser."),
    "oidc.misconfigured": ErrorKind(503, "Give oidc.issuer as the discovery document spells it, and HTTPS addresses."),
    "oidc.no_role": ErrorKind(403, "Give the person a group at the provider that oidc.roles names."),
    "oidc.token_refused": ErrorKind(401, "Get a new token of oidc.issuer for oidc.audience, signed with RS, PS or ES."),
    "oidc.unreachable": ErrorKind(503, "Try again, or look at the identity provider; API keys count meanwhile."),
    "auth.key_revoked": ErrorKind(409, "Make a new key: lethe key create."),
    "auth.unknown_role": ErrorKind(422, "Use a role from the list in the details, or name it in a policy pack first."),
    "auth.unknown_scope": ErrorKind(422, "Use scopes from the list in the details."),
    "deletion.held": ErrorKind(409, "A legal hold keeps the records: they are deleted once it is released."),
    "deletion.no_ids": ErrorKind(422, "Name the source's column of ids (id_column); rows without ids cannot be found."),
    "deletion.not_all_gone": ErrorKind(
        500, "Somebody wrote the records anew, or a trigger did: look, then run it again."
    ),
    "deletion.not_found": ErrorKind(
        404, "Nothing is to be deleted for this ticket: its swap is not confirmed, or mode is off."
    ),
    "deletion.other_rows": ErrorKind(
        409,
        "Name an id_column that tells ids apart as the corpus does: same spelling, no collation, no numbers for text.",
    ),
    "deletion.others_changed": ErrorKind(
        409, "Nothing to do if somebody else writes to the source; if nobody does, look what else changed in it."
    ),
    "deletion.refused": ErrorKind(
        409, "Remove what still holds the rows (a foreign key, a second name), then run it again."
    ),
    "deletion.source_busy": ErrorKind(409, "Nothing to do: it is tried again by itself."),
    "deletion.source_changed": ErrorKind(
        409, "Nothing to do: it is tried again by itself. Stop who writes to the source."
    ),
    "deletion.source_unreachable": ErrorKind(
        503, "Check the source's address, table and rights; it is tried again by itself."
    ),
    "deletion.unknown_source": ErrorKind(
        422, "Name the source in deletion.sources again, or record the deletion yourself."
    ),
    "deletion.unsupported": ErrorKind(
        422, "Delete the records there yourself: JSONL, CSV, `datasets` directories and SQL are known."
    ),
    "console.form_refused": ErrorKind(403, "Load the page again and send its form once more; log in if it asks."),
    "desired_state.conflict": ErrorKind(409, "Somebody else changed the desired state first: read it again and retry."),
    "desired_state.missing": ErrorKind(404, "Import the base first: lethe base import."),
    "installation.incomplete": ErrorKind(500, "Run lethe init; restore a lost key file from its backup."),
    "release.exists": ErrorKind(409, "Releases are immutable: the same digest was stored with other content."),
    "report.not_ready": ErrorKind(404, "The report is made when the ticket closes: lethe ticket watch ID."),
    "request.invalid": ErrorKind(422, "Correct the fields that the details name."),
    "request.method_not_allowed": ErrorKind(405, "See /docs.json for the methods of this path."),
    "request.not_found": ErrorKind(404, "See /docs.json for the paths."),
    "request.not_json": ErrorKind(400, "Send a JSON body with Content-Type: application/json."),
    "request.rate_limited": ErrorKind(429, "Ask less often: Retry-After says when there is room again."),
    "request.too_slow": ErrorKind(408, "Send the body faster, or raise serving.body_timeout_s."),
    "request.too_large": ErrorKind(413, "Send less at once, or raise intake.max_body_bytes."),
    "run.not_found": ErrorKind(404, "See lethe ticket show for the runs of a ticket."),
    "run.stale_attempt": ErrorKind(409, "Nothing to do: a newer attempt of this run has taken over."),
    "rights.not_verified": ErrorKind(
        409, "Record the identity check first: answers about a person go to that person only."
    ),
    "rights.nothing_known": ErrorKind(
        404, "Tell the person that nothing was found: no record and no probe is about them."
    ),
    "seal.corrupt": ErrorKind(500, "Restore the sealed data from a backup; it was changed, or belongs to another key."),
    "seal.key_destroyed": ErrorKind(410, "Nothing to do: this person's key was destroyed, so the data is gone."),
    "seal.subject_unknown": ErrorKind(404, "Check the subject reference."),
    "service.unreachable": ErrorKind(503, "Start the services (lethe up), or check intake.host and intake.port."),
    "settings.invalid": ErrorKind(500, "Correct lethe.toml or the LETHE_ variables that the details name."),
    "storage.full": ErrorKind(507, "Free disk space; what was being written was not stored, so send it again."),
    "store.busy": ErrorKind(503, "Try again; if it lasts, look for a process that holds the database."),
    "store.corrupt": ErrorKind(500, "Restore the database from a backup that is not older than what is served."),
    "store.locked": ErrorKind(409, "Stop the process that the details name, or use another home directory."),
    "store.migration_needed": ErrorKind(503, "Run lethe init with every service stopped, then start them."),
    "store.missing": ErrorKind(503, "Run lethe init, or point LETHE_HOME at the installation."),
    "store.unreachable": ErrorKind(
        503, "Start the database server, or check store.url; nothing was stored: try again."
    ),
    "store.too_new": ErrorKind(503, "The database was made by a newer Lethe: start that version, or restore a backup."),
    "ticket.approver_refused": ErrorKind(
        403, "Use a key whose role the pack names (lethe key create --name … --role)."
    ),
    "ticket.changed": ErrorKind(409, "Somebody else changed the ticket first: read it again and retry."),
    "ticket.conflict": ErrorKind(409, "This id was used for another request: send a new id, or the same body."),
    "ticket.person_held": ErrorKind(
        409, "Wait, or release the hold on the person's other ticket (lethe ticket release-hold), then approve again."
    ),
    "ticket.unknown_base": ErrorKind(
        422, "Name the base as the installation does (base.names), or file the ticket where its base is."
    ),
    "ticket.not_found": ErrorKind(404, "See lethe ticket list for the ids."),
    "batch.malformed": ErrorKind(
        422, "Correct the row that the message names and send the file again: what was filed is not filed twice."
    ),
    "batch.not_found": ErrorKind(404, "Check the id of the batch, and the key: a batch is its sender's own."),
    "callback.address": ErrorKind(
        422, "Give an https address on a host that was registered for the sender; it must be a public one."
    ),
    "callback.failed": ErrorKind(502, "Nothing to do: it is tried again; the receiver has to answer with 2xx."),
    "callback.signing_key": ErrorKind(500, "Set protocols.certificate_path and protocols.private_key_path (RSA)."),
    "claim.too_many": ErrorKind(409, "Twenty claims of one ticket are measured; name further ones in a new ticket."),
    "claim.too_late": ErrorKind(409, "Claims are taken until a run works on the ticket: file a new ticket."),
    "form.code": ErrorKind(422, "Ask for a new code: this one is wrong, was used up or has expired."),
    "form.invalid": ErrorKind(422, "Correct the fields that the page names."),
    "mail.off": ErrorKind(503, "Set mail.host and mail.sender."),
    "mail.unavailable": ErrorKind(503, "Try again later; the operator looks at mail.host, port, security and account."),
    "mail.unsure": ErrorKind(503, "Look whether it arrived before it is sent again; then look at the mail server."),
    "protocol.off": ErrorKind(404, "Set protocols.domain, certificate_path and private_key_path to offer OpenDSR."),
    "protocol.unsupported": ErrorKind(422, "Ask discovery for what is supported."),
    "protocol.not_erasure": ErrorKind(422, "Send erasure requests here; other rights are answered elsewhere."),
    "protocol.signature": ErrorKind(401, "Sign with the secret that `lethe sender add` showed (docs/intake.md)."),
    "protocol.stale": ErrorKind(401, "Set the sender's clock, sign anew and send again."),
    "sender.exists": ErrorKind(409, "Choose another id: one that was revoked is not given out again."),
    "sender.invalid": ErrorKind(422, "Correct what the message names."),
    "sender.may_not_attest": ErrorKind(
        403, "Leave the identity out, or register the sender with --attests if its word is to count."
    ),
    "sender.not_found": ErrorKind(404, "See `lethe sender list` for the ids."),
    "sender.revoked": ErrorKind(409, "Add a sender with a new id."),
    "sender.unknown_key": ErrorKind(403, "Use the key that `lethe sender add` showed for a sender of this kind."),
    "ticket.review_unknown": ErrorKind(422, "Review only the records that lethe ticket show lists as ambiguous."),
}


class LetheError(Exception):
    """A refusal or failure with a stable code. Its message never holds personal data.

    Args:
        code: A key of ``ERRORS``.
        message: What went wrong, in one sentence, without personal data.
        details: Every single fault, where there are several (a policy pack with three mistakes lists three).

    Raises:
        KeyError: The code is not registered, so the mistake shows in the first test that raises it.
    """

    def __init__(self, code: str, message: str, details: tuple[str, ...] = ()) -> None:
        self.kind = ERRORS[code]
        self.code = code
        self.message = message
        self.details = details
        super().__init__(f"{code}: {message}")

    def __reduce__(self) -> "tuple[type[LetheError], tuple[str, str, tuple[str, ...]]]":
        """An error that another process met is raised here as it was there."""
        return type(self), (self.code, self.message, self.details)

    def body(self) -> dict[str, object]:
        """The one error body of every API and of ``--json``."""
        return {
            "error": {
                "code": self.code,
                "message": self.message,
                "remedy": self.kind.remedy,
                "details": list(self.details),
            }
        }
