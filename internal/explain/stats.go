package explain

import "math"

// ramp is 0 at or below lo, 1 at or above hi, and linear between: how a number becomes the strength of a sign.
func ramp(x, lo, hi float64) float64 {
	if math.IsNaN(x) {
		return 0
	}
	return min(1, max(0, (x-lo)/(hi-lo)))
}

// ratio is a/b where b may be nothing; floor is the smallest b that counts.
func ratio(a, b, floor float64) float64 { return a / max(b, floor) }

// round cuts what differs only by the order of additions.
func round(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return math.Round(v*1e6) / 1e6
}

// surprise is the p-value of seeing at least a of n in one group where the other has b of m, by Fisher's exact test:
// it holds for small counts, where the usual tests are wild. Sums stop when terms no longer matter.
func surprise(a, n, b, m int64) float64 {
	if a <= 0 || n <= 0 || m < 0 || b < 0 {
		return 1
	}
	k := a + b
	last := min(k, n)
	p, term := 0.0, math.Exp(choose(n, a)+choose(m, b)-choose(n+m, k))
	for i := a; i <= last; i++ {
		p += term
		// From i to i+1 hits in the first group.
		term *= float64(n-i) * float64(k-i) / (float64(i+1) * float64(m-k+i+1))
		if term < p*1e-12 {
			break
		}
	}
	return min(1, p)
}

func choose(n, k int64) float64 {
	if k < 0 || k > n {
		return math.Inf(-1)
	}
	a, _ := math.Lgamma(float64(n + 1))
	b, _ := math.Lgamma(float64(k + 1))
	c, _ := math.Lgamma(float64(n - k + 1))
	return a - b - c
}

// gRates is the likelihood ratio statistic (chi-squared with one degree of freedom) for a events in exposure x and b in
// exposure y having one rate.
func gRates(a, b int64, x, y float64) float64 {
	if x <= 0 || y <= 0 || a+b == 0 {
		return 0
	}
	rate := float64(a+b) / (x + y)
	term := func(k int64, e float64) float64 {
		if k == 0 {
			return 0
		}
		return float64(k) * math.Log(float64(k)/(rate*e))
	}
	return 2 * max(0, term(a, x)+term(b, y))
}

func median(v []float64) float64 {
	s := sorted(v)
	switch n := len(s); {
	case n == 0:
		return math.NaN()
	case n%2 == 1:
		return s[n/2]
	default:
		return (s[n/2-1] + s[n/2]) / 2
	}
}
