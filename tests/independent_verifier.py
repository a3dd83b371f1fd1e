"""A second verifier of the record: psycopg, hashlib and json, and none of the service's code.

``python -m tests.independent_verifier DATABASE_URL ANCHORS_FOLDER`` names the first bad row and exits with 1.
"""

import json
import sys
from hashlib import sha256
from pathlib import Path

import psycopg


def first_bad(url, folder):
    """The first row (chain, seq) that is not what it was; a line of the anchors has no seq; None when all is well."""
    anchors, before = [], ""
    for file in sorted(Path(folder).glob("*.jsonl")):
        for number, line in enumerate(file.read_bytes().split(b"\n"), 1):
            if not line.endswith(b"}"):
                continue  # nothing, or what a crash left
            anchors.append(json.loads(line))
            if anchors[-1]["previous"] != before:
                return f"{file.name} line {number}", None
            before = sha256(line).hexdigest()
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT chain_id, seq, body, hash FROM journal ORDER BY chain_id, seq"
        ).fetchall()
        heads = connection.execute(
            "SELECT orchestration_id, head_seq, head_hash FROM orchestrations"
        ).fetchall()
    ends = {chain: (length, bytes(digest)) for chain, length, digest in heads}
    chains, called_for = {}, set()
    for chain, seq, body, digest in rows:
        hashes = chains.setdefault(chain, [])
        place = json.loads(body)
        linked = sha256((hashes[-1] if hashes else b"") + body).digest() == digest
        if seq != len(hashes) or not linked or (place["chain"], place["seq"]) != (chain, seq):
            return chain, min(seq, len(hashes))
        hashes.append(bytes(digest))
        fact = place["fact"]
        for agent in fact["agents"] if fact["kind"] == "stage_started" else ():
            parts = json.dumps([chain, fact["stage"], agent], separators=(",", ":"), ensure_ascii=False)
            called_for.add("run_" + sha256(parts.encode()).hexdigest()[:32])
        if fact["kind"] == "run_folded":
            ends[fact["run_id"]] = (fact["chain_length"], bytes.fromhex(fact["chain_hash"]))
    for chain in sorted({*chains, *ends}):
        found, (length, digest) = chains.get(chain, []), ends.get(chain, (0, b""))
        if chain in ends and (len(found) != length or (length and found[-1] != digest)):
            return chain, min(len(found), length) - (len(found) == length)
        if chain not in ends and chain not in called_for:
            return chain, 0
    removed = {chain for anchor in anchors if anchor["kind"] == "removed" for chain in anchor["heads"]}
    told = (head for anchor in anchors if anchor["kind"] == "heads" for head in anchor["heads"].items())
    for chain, (seq, digest) in told:
        found = chains.get(chain, [])
        if not (seq < len(found) and found[seq].hex() == digest) and not (chain in removed and not found):
            return chain, min(seq, len(found))
    return None


if __name__ == "__main__":
    bad = first_bad(*sys.argv[1:])
    print(bad or "every fact is what it was")
    sys.exit(bad is not None)
