"""Forward values against the node tests of ONNX, which define its operators: somebody else's idea of what is right."""

import importlib
import re
import warnings
from typing import Any

import numpy as np
import pytest
from conftest import device_of
from onnx_adapter import ADAPTERS, run
from onnx_windows import Unmappable

SUITE = "onnx.backend.test.case.node"
MODULES = {  # not named like their operator
    "SoftmaxCrossEntropyLoss": "softmax_cross_entropy_loss",
    "BatchNormalization": "batch_normalization",
    "InstanceNormalization": "instance_normalization",
}

# How the refusal begins -> what is refused. The list may only get shorter: a case that can be run must be.
EXCLUDED: dict[str, str] = {
    "a loss for each example": """
        sce_none sce_none_log_prob sce_NCd1d2d3d4d5_none_no_weight sce_NCd1d2d3d4d5_none_no_weight_log_prob
        sce_none_weights sce_none_weights_log_prob sce_NCd1d2d3_none_no_weight_negative_ii
        sce_NCd1d2d3_none_no_weight_negative_ii_log_prob""",
    "a second output": """
        dropout_default_mask dropout_default_mask_ratio training_dropout_zero_ratio_mask
        maxpool_with_argmax_2d_precomputed_pads maxpool_with_argmax_2d_precomputed_strides
        attention_4d_with_qk_matmul""",
    "ceil_mode": """
        averagepool_2d_ceil averagepool_2d_ceil_last_window_starts_on_pad maxpool_2d_ceil
        averagepool_3d_dilations_large_count_include_pad_is_0_ceil_mode_is_True
        averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True
        maxpool_2d_ceil_output_size_reduce_by_one maxpool_3d_dilations_use_ref_impl_large""",
    "count_include_pad": "averagepool_2d_pads_count_include_pad averagepool_2d_precomputed_pads_count_include_pad",
    "over some axes": """
        reduce_l1_do_not_keepdims_example reduce_l1_do_not_keepdims_random reduce_l1_keep_dims_example
        reduce_l1_keep_dims_random reduce_l1_negative_axes_keep_dims_example reduce_l1_negative_axes_keep_dims_random
        reduce_l1_empty_set reduce_l2_do_not_keepdims_example reduce_l2_do_not_keepdims_random
        reduce_l2_keep_dims_example reduce_l2_keep_dims_random reduce_l2_negative_axes_keep_dims_example
        reduce_l2_negative_axes_keep_dims_random reduce_l2_empty_set
        reduce_sum_square_do_not_keepdims_example reduce_sum_square_do_not_keepdims_random
        reduce_sum_square_keepdims_example reduce_sum_square_keepdims_random
        reduce_sum_square_negative_axes_keepdims_example reduce_sum_square_negative_axes_keepdims_random
        reduce_sum_square_empty_set""",
    "parts of different sizes": """
        split_variable_parts_1d_opset13 split_variable_parts_2d_opset13 split_variable_parts_default_axis_opset13
        split_variable_parts_1d_opset18 split_variable_parts_2d_opset18 split_variable_parts_default_axis_opset18""",
    "axis 0 of shape (7,) cannot be split into 4 equal parts": "split_1d_uneven_split_opset18",
    "axis 1 of shape (2, 8) cannot be split into 3 equal parts": "split_2d_uneven_split_opset18",
    "the output's size": """
        convtranspose_output_shape convtranspose_kernel_shape convtranspose_autopad_same""",
    "cubic interpolation or antialiasing": """
        resize_upsample_scales_cubic resize_upsample_scales_cubic_align_corners resize_downsample_scales_cubic
        resize_downsample_scales_cubic_align_corners resize_upsample_sizes_cubic resize_downsample_sizes_cubic
        resize_upsample_scales_cubic_A_n0p5_exclude_outside resize_downsample_scales_cubic_A_n0p5_exclude_outside
        resize_upsample_scales_cubic_asymmetric resize_downsample_scales_linear_antialias
        resize_downsample_sizes_linear_antialias resize_downsample_scales_cubic_antialias
        resize_downsample_sizes_cubic_antialias""",
    "other coordinates than half_pixel": """
        resize_upsample_scales_linear_align_corners resize_downsample_scales_linear_align_corners
        resize_tf_crop_and_resize resize_tf_crop_and_resize_extrapolation_value
        resize_downsample_sizes_linear_pytorch_half_pixel resize_upsample_sizes_nearest_floor_align_corners
        resize_upsample_sizes_nearest_round_prefer_ceil_asymmetric resize_upsample_sizes_nearest_ceil_half_pixel
        resize_tf_crop_and_resize_axes_2_3 resize_tf_crop_and_resize_axes_3_2
        resize_downsample_scales_linear_half_pixel_symmetric resize_upsample_scales_linear_half_pixel_symmetric""",
    "a factor that is no whole number": """
        resize_downsample_scales_nearest resize_upsample_sizes_nearest resize_downsample_sizes_nearest
        resize_downsample_scales_linear resize_upsample_sizes_nearest_axes_2_3 resize_upsample_sizes_nearest_axes_3_2
        resize_upsample_sizes_nearest_not_larger resize_upsample_sizes_nearest_not_smaller
        resize_downsample_sizes_nearest_not_larger resize_downsample_sizes_nearest_not_smaller""",
    "wrap": "wrap_pad",
    "SAME_LOWER": "averagepool_2d_same_lower maxpool_2d_same_lower",
    "the mask is numpy's": """
        training_dropout training_dropout_mask training_dropout_default training_dropout_default_mask""",
    "whole numbers": """
        edge_pad reflect_pad
        add_int8 add_int16 add_uint8 add_uint16 add_uint32 add_uint64 clip_default_int8_min clip_default_int8_max
        clip_default_int8_inbounds div_int8 div_int16 div_int32_trunc div_uint8 div_uint16 div_uint32 div_uint64
        gathernd_example_int32 max_int8 max_int16 max_int32 max_int64 max_uint8 max_uint16 max_uint32 max_uint64
        maxpool_2d_uint8 min_int8 min_int16 min_int32 min_int64 min_uint8 min_uint16 min_uint32 min_uint64
        mul_int8 mul_int16 mul_uint8 mul_uint16 mul_uint32 mul_uint64 pow_types_float32_int64 pow_types_int64_float32
        pow_types_float32_int32 pow_types_int32_float32 pow_types_float32_uint64 pow_types_float32_uint32
        pow_types_int64_int64 pow_types_int32_int32 reduce_max_bool_inputs reduce_max_empty_set_bool
        sub_int8 sub_int16 sub_uint8 sub_uint16 sub_uint32 sub_uint64 where_long_example
        attention_4d_causal_bf16 attention_3d_causal_bf16""",
    "another precision": """
        max_float16 max_float64 min_float16 min_float64 attention_4d_fp16 attention_4d_causal_fp16""",
    "batch_dims": "gathernd_example_int32_batch_dim1",
    "gates that look at the cell": "lstm_with_peepholes",
    "a reset before the product": "gru_seq_length gru_batchwise gru_reverse gru_bidirectional",
    "a mask of its own": """
        attention_4d_attn_mask attention_4d_attn_mask_3d attention_4d_attn_mask_3d_causal
        attention_4d_attn_mask_4d attention_4d_attn_mask_4d_causal attention_4d_attn_mask_bool
        attention_4d_attn_mask_bool_4d attention_4d_gqa_attn_mask attention_4d_diff_heads_sizes_attn_mask
        attention_4d_with_past_and_present attention_4d_gqa_with_past_and_present
        attention_4d_gqa_with_past_and_present_fp16 attention_4d_diff_heads_with_past_and_present
        attention_4d_diff_heads_with_past_and_present_mask3d
        attention_4d_diff_heads_with_past_and_present_mask4d attention_4d_with_qk_matmul_bias
        attention_4d_with_qk_matmul_softcap attention_4d_with_qk_matmul_softmax
        attention_4d_with_past_and_present_qk_matmul_bias
        attention_4d_with_past_and_present_qk_matmul_bias_3d_mask
        attention_4d_with_past_and_present_qk_matmul_bias_4d_mask
        attention_4d_with_past_and_present_qk_matmul_bias_3d_mask_causal
        attention_4d_with_past_and_present_qk_matmul_bias_4d_mask_causal
        attention_4d_with_past_and_present_qk_matmul attention_3d_attn_mask attention_3d_gqa_attn_mask
        attention_3d_diff_heads_sizes_attn_mask attention_3d_with_past_and_present
        attention_3d_gqa_with_past_and_present attention_3d_diff_heads_with_past_and_present
        attention_3d_with_past_and_present_qk_matmul attention_3d_with_past_and_present_qk_matmul_bias
        attention_3d_with_past_and_present_qk_matmul_softcap
        attention_3d_with_past_and_present_qk_matmul_softmax attention_4d_diff_heads_mask4d_padded_kv
        attention_4d_padded_kv_bf16 attention_4d_causal_padded_kv_bf16 attention_4d_attn_mask_causal_bf16
        attention_4d_softcap_neginf_mask attention_4d_softcap_neginf_mask_poison
        attention_causal_boolmask_nan_robustness attention_23_boolmask_fullymasked_row_nan_robustness
        attention_23_fullymasked_qk_matmul_output_mode3_zero
        attention_24_fullymasked_qk_matmul_output_mode3_zero
        attention_24_qk_matmul_output_mode3_softmax_precision attention_4d_causal_nonpad_attn_mask_composition
        attention_local_window_rank1_boolean_mask attention_local_window_ext_cache_rank3_head_mask
        attention_local_window_ext_cache_rank4_batch_mask attention_local_window_ext_cache_rank2_mask
        attention_local_window_ext_cache_float16_mask attention_local_window_gqa_rank4_mask""",
    "scores that are squashed": """
        attention_4d_softcap attention_4d_gqa_softcap attention_4d_diff_heads_sizes_softcap attention_3d_softcap
        attention_3d_gqa_softcap attention_3d_diff_heads_sizes_softcap""",
    "lengths that say where the queries stand": """
        attention_4d_gqa_causal_nonpad_decode attention_4d_gqa_causal_nonpad_decode_fp16
        attention_4d_causal_nonpad_continued_prefill attention_4d_causal_nonpad_negative_offset_structural_empty
        attention_4d_causal_nonpad_batch_prefill""",
    "positions of before": "attention_4d_causal_with_past_and_present attention_local_window_with_past",
    "a window": "attention_local_window attention_bidirectional_window attention_3d_local_window",
    "zero-size array": "reduce_max_empty_set",
}
REASONS = {f"test_{name}": reason for reason, names in EXCLUDED.items() for name in names.split()}


@pytest.fixture(scope="module")
def cases() -> dict[str, list[Any]]:
    """Operator -> its cases. Importing a module of the suite computes what it expects, for pooling in slow loops."""
    suite = importlib.import_module(SUITE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for operator in ADAPTERS:
            importlib.import_module(f"{SUITE}.{MODULES.get(operator, operator.lower())}")
    found: dict[str, list[Any]] = {operator: [] for operator in ADAPTERS}
    for case in suite._NodeTestCases:
        operator = case.model.graph.node[0].op_type
        if operator in found and "_expanded" not in case.name:  # those say the same with other operators
            found[operator].append(case)
    return found


def check(case: Any, device_name: str) -> None:
    """Raises what refuses the case, AssertionError where values, shapes or dtypes differ."""
    (node,) = case.model.graph.node
    device = device_of(np.float32, device_name)
    for inputs, outputs in case.data_sets:
        for y, wanted in zip(run(node, list(inputs), device), outputs, strict=True):
            assert (y.dtype, y.shape) == (wanted.dtype, wanted.shape), case.name
            np.testing.assert_allclose(y, wanted, rtol=case.rtol, atol=case.atol, err_msg=case.name)


@pytest.mark.parametrize("operator", ADAPTERS)
def test_values(operator: str, cases: dict[str, list[Any]], device_name: str):
    assert cases[operator]
    for case in cases[operator]:
        if case.name not in REASONS:
            check(case, device_name)


def test_what_is_excluded_is_really_refused(cases: dict[str, list[Any]]):
    by_name = {case.name: case for found in cases.values() for case in found}
    assert set(REASONS) <= set(by_name), "excluded, but there is no such case"
    for name, reason in REASONS.items():
        with pytest.raises((Unmappable, ValueError), match=re.escape(reason)):
            check(by_name[name], "cpu")


def test_how_many(cases: dict[str, list[Any]], capsys: pytest.CaptureFixture[str]):
    total = sum(map(len, cases.values()))
    with capsys.disabled():
        print(f" [ONNX node tests: {total - len(REASONS)} of {total} hold, {len(REASONS)} are refused] ", end="")
    assert total - len(REASONS) >= 330
