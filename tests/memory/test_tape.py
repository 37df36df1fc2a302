"""Which tensors of a layer are alive when: small tapes whose peaks can be counted by hand."""

import pytest

from diagnostics.memory.tape import Tape, walk


def chain(*sizes: float, keep: bool) -> Tape:
    """A source of 100 bytes, then one operation after the other."""
    tape = Tape("input", {"input": 100.0})
    last = "input"
    for number, size in enumerate(sizes):
        last = tape.add(f"t{number}", size, [last], saved=(last,) if keep else ())
    return tape


def test_a_chain_that_keeps_nothing_holds_two_tensors_at_a_time():
    walked = walk(chain(10, 30, 20, keep=False))

    assert walked.kept_bytes == 0
    assert walked.forward_peak_bytes == 30 + 20
    assert walked.plain_peak_bytes == 30 + 20


def test_a_chain_that_keeps_its_inputs_holds_them_all_until_the_backward():
    walked = walk(chain(10, 30, 20, keep=True))

    # The input and the two tensors between are kept; the output belongs to the next layer.
    assert walked.kept_bytes == 100 + 10 + 30
    assert walked.forward_peak_bytes == 10 + 30 + 20
    assert walked.plain_peak_bytes == 30 + 20


def test_the_backward_begins_with_the_outputs_gradient_beside_all_that_is_kept():
    walked = walk(chain(10, 30, 20, keep=True))

    # Backwards: 10 + 30 kept with gradients of 20 and 30; 10 kept, 30 and 10; only 10 and 100.
    assert walked.backward_peak_bytes == max(10 + 30 + 20 + 30, 10 + 30 + 10, 10 + 100)


def test_a_tensor_that_two_operations_keep_lives_until_the_backward_of_the_first():
    tape = Tape("input", {"input": 1.0})
    tape.add("a", 50, ["input"])
    tape.add("b", 5, ["a"], saved=("a",))
    tape.add("c", 5, ["a"], saved=("a",))
    tape.add("sum", 5, ["b", "c"])

    walked = walk(tape)

    assert walked.kept_bytes == 50
    # The second gradient of "a" is there beside the first while they are added.
    assert walked.backward_peak_bytes == 50 + 5 + 50 + 50


def test_a_variable_of_the_code_keeps_a_tensor_that_nothing_needs_any_more():
    def peak(*, held: bool) -> float:
        tape = Tape("input", {"input": 1.0})
        tape.add("a", 50, ["input"])
        tape.add("b", 5, ["a"])
        tape.add("c", 40, ["b"], holds=("a",) if held else ())
        return walk(tape).forward_peak_bytes

    assert peak(held=False) == 55
    assert peak(held=True) == 50 + 5 + 40


def test_what_an_operation_needs_while_it_runs_counts_only_then():
    tape = Tape("input", {"input": 1.0})
    tape.add("a", 10, ["input"], forward_bytes=1000, backward_bytes=3000)
    tape.add("b", 10, ["a"])

    walked = walk(tape)

    assert walked.forward_peak_bytes == 1010
    assert walked.backward_peak_bytes == pytest.approx(10 + 1 + 3000)
    assert walked.kept_bytes == 0


def test_a_cast_weight_is_kept_for_the_backward_and_no_longer():
    tape = Tape("input", {"input": 1.0})
    tape.add("a", 10, ["input"], kept_bytes=500)
    tape.add("b", 10, ["a"])

    walked = walk(tape)

    assert walked.kept_bytes == 500
    assert walked.forward_peak_bytes == 520
    assert walked.plain_peak_bytes == 20


def test_gradients_of_weights_are_left_behind():
    tape = Tape("input", {"input": 1.0})
    tape.add("a", 10, ["input"], gradient_bytes=70)
    tape.add("b", 10, ["a"], gradient_bytes=7)

    assert walk(tape).gradient_bytes == 77


def test_an_operation_that_no_gradient_reaches_leaves_none():
    tape = Tape("input", {"input": 1.0})
    tape.add("aside", 10, ["input"], gradient_bytes=70)
    tape.add("b", 10, ["input"], gradient_bytes=7)

    assert walk(tape).gradient_bytes == 7
