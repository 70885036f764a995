"""Cases of parametrised tests that take more than ten seconds, nearly all of it XLA's compiler: marked slow.

Lighter cases of the same test are not, and see the same code.
"""

__all__ = ["SLOW_CASES"]

# Test -> its slow cases: a case is slow if these words stand in its brackets.
SLOW_CASES = {
    "ensembles/test_bench.py::test_rows_agree_with_the_peer": ["W1", "W2"],
    "ensembles/test_covariance.py::test_against_the_listed_set_and_the_explicit_path": ["D4, GAP"],
    "ensembles/test_covariance.py::test_tiles_and_company_do_not_matter": ["D4, GAP"],
    "ensembles/test_deep.py::test_a_kernel_that_is_not_invariant_is_noticed": ["shifts finer than the pool"],
    "ensembles/test_deep.py::test_an_invariant_kernel_is_reduced": ["pool on even sides", "circular with shifts"],
    "ensembles/test_deep.py::test_explicit_path_agrees": ["digits d4"],
    "ensembles/test_deep.py::test_mean_against_the_listed_set": ["digits d4"],
    "ensembles/test_haar_ensemble.py::test_plane_orbit_error_and_convergence": ["invariant-Erf"],
    "ensembles/test_haar_ensemble.py::test_space_convergence": ["Erf"],
    "ensembles/test_haar_ensemble.py::test_space_orbit_error": ["Erf"],
    "ensembles/test_jacobian.py::test_against_central_differences": ["SO(3)", "gap", "erf"],
    "ensembles/test_jacobian.py::test_blank_patches_with_bias_have_a_derivative": ["head1"],
    "ensembles/test_networks.py::test_wide_networks_have_the_analytic_kernels": ["pool gap dense", "residual"],
    "ensembles/test_theorems.py::test_verdicts_hold_and_controls_fail": ["digits d4"],
    "kernels/test_aligned.py::test_kernels_of_distances_are_the_kernels_of_vectors": ["gelu"],
    "kernels/test_aligned.py::test_the_plane_against_an_equispaced_sum": ["gelu"],
    "kernels/test_analytic.py::test_blank_inputs_without_bias_are_finite": ["pool flatten"],
    "kernels/test_analytic.py::test_distinct_points_against_neural_tangents": ["pool gap dense", "same gap"],
    "kernels/test_analytic.py::test_float32_near_coincidence": ["pool"],
    "kernels/test_tangents.py::test_random_networks_have_our_covariance": ["residual"],
}
