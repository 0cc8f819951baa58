import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundial.errors import WireError
from rundial.events import Gap, Marker, Metrics, RunEnd, clean_key
from rundial.wire import (
    Chunk,
    decode_chunk,
    encode,
    find_chunk,
    gap_chunk,
    pack_chunk,
    split_records,
    unpack_chunk,
    unpack_chunks,
)

STREAM = "0123456789abcdef" * 2
LOSS = Metrics(1, 2, {"loss": 0.5})


def chunk_of(*events, first=0):
    records = [encode(event) for event in events]
    return Chunk(STREAM, first, len(records), b"".join(records))


def test_a_chunk_comes_back_as_it_went():
    """Packing and unpacking changes nothing, and says where the next chunk begins."""
    chunk = chunk_of(LOSS, RunEnd(3, "completed"), first=7)
    packed = pack_chunk(chunk)
    assert unpack_chunk(packed + b"more") == (chunk, len(packed))
    assert decode_chunk(chunk) == ([LOSS, RunEnd(3, "completed")], [])


def test_the_hot_path_tuple_is_the_same_record():
    """log() encodes a plain tuple; nobody can tell it from the event."""
    assert encode((2, 1, 2, {"loss": 0.5})) == encode(LOSS)[: -len(b"\xc0\xc0")].replace(b"\x96", b"\x94", 1)
    assert decode_chunk(Chunk(STREAM, 0, 1, encode((2, 1, 2, {"loss": 0.5})))) == ([LOSS], [])


def test_one_bad_record_costs_no_other():
    """A record that no decoder understands is set apart by its sequence number."""
    bad = encode([2, 1, 2, {"loss": None}])
    chunk = Chunk(STREAM, 10, 3, encode(LOSS) + bad + encode(LOSS))
    events, refused = decode_chunk(chunk)
    assert events == [LOSS, LOSS]
    assert [record.seq for record in refused] == [11]


def test_keys_that_are_no_strings_are_renamed():
    """The fast path does not look at keys; the decoder makes strings of them."""
    events, refused = decode_chunk(Chunk(STREAM, 0, 1, encode([2, 1, 2, {1: 0.5, "": 2.0}])))
    assert events == [Metrics(1, 2, {"1": 0.5, "(empty)": 2.0})]
    assert refused == []


def test_a_gap_stands_for_many_records():
    """One small chunk takes the place of everything a bound had to drop."""
    chunk = gap_chunk(STREAM, 5, 104, "spool_bytes")
    assert (chunk.count, chunk.next, chunk.is_gap) == (100, 105, True)
    assert decode_chunk(unpack_chunk(pack_chunk(chunk))[0]) == ([Gap(5, 104, "spool_bytes")], [])


@given(st.binary(max_size=200), st.integers(0, 60))
def test_damaged_bytes_are_an_error_and_nothing_else(noise, offset):
    """Whatever lies there, unpacking gives the chunk or a WireError."""
    packed = pack_chunk(chunk_of(LOSS))
    spoiled = packed[:offset] + noise + packed[offset + len(noise) :]
    try:
        chunk, _ = unpack_chunk(spoiled)
    except WireError:
        return
    assert chunk.records == chunk_of(LOSS).records


def test_every_flipped_bit_of_the_records_is_noticed():
    """The checksum covers every byte behind the header."""
    packed = bytearray(pack_chunk(chunk_of(LOSS)))
    for position in range(48, len(packed)):
        packed[position] ^= 0x10
        with pytest.raises(WireError):
            unpack_chunk(bytes(packed))
        packed[position] ^= 0x10


def test_the_next_chunk_is_found_behind_damage():
    """A reader goes on at the next header."""
    good = pack_chunk(chunk_of(LOSS, first=3))
    body = b"\0" * 31 + good
    assert list(unpack_chunks(body[find_chunk(body, 0) :])) == [chunk_of(LOSS, first=3)]
    assert find_chunk(body, len(body) - 3) == -1


scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary()
values = st.recursive(scalars, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(), v, max_size=4))


@given(st.lists(values, max_size=8))
def test_records_are_told_apart_without_a_length(items):
    """MessagePack delimits itself: records that lie back to back can be counted and cut."""
    records = [encode(item) for item in items]
    assert list(split_records(b"".join(records))) == records


def test_a_record_cut_short_is_left_out():
    """A torn end gives the whole records before it."""
    records = encode(LOSS) + encode(Marker(1, "alert", "x"))[:-1]
    assert list(split_records(records)) == [encode(LOSS)]


@pytest.mark.parametrize(
    ("key", "clean"),
    [("loss", "loss"), ("", "(empty)"), (3, "3"), ("a\nb", "a\ufffdb"), ("\ud800", "\ufffd"), (None, "None")],
)
def test_any_object_makes_a_key(key, clean):
    """A strange key renames itself and harms nothing."""
    assert clean_key(key) == clean


def test_long_keys_stay_apart():
    """A key over the limit is cut but keeps a hash of the whole."""
    first, second = clean_key("x" * 300 + "a"), clean_key("x" * 300 + "b")
    assert len(first) == len(second) == 250
    assert first != second
