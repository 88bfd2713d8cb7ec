package usual

import (
	"math"
	"slices"
)

// window is the last windowLen values, also in order of size.
type window struct {
	n, next int
	ring    [windowLen]float32
	sorted  [windowLen]float32
}

func (w *window) add(v float32) {
	if w.n == windowLen {
		i, _ := slices.BinarySearch(w.sorted[:], w.ring[w.next])
		copy(w.sorted[i:], w.sorted[i+1:])
		w.n--
	}
	w.ring[w.next] = v
	w.next = (w.next + 1) % windowLen
	i, _ := slices.BinarySearch(w.sorted[:w.n], v)
	copy(w.sorted[i+1:w.n+1], w.sorted[i:w.n])
	w.sorted[i] = v
	w.n++
}

func (w *window) median() float64 {
	if w.n == 0 {
		return 0
	}
	return (float64(w.sorted[(w.n-1)/2]) + float64(w.sorted[w.n/2])) / 2
}

// deviation is the median of |x - centre|: it walks from the centre outwards, always to the nearer side.
func (w *window) deviation(centre float64) (d float64) {
	sorted := w.sorted[:w.n]
	right, _ := slices.BinarySearch(sorted, float32(centre))
	left := right - 1
	for range len(sorted)/2 + 1 {
		if right >= len(sorted) || left >= 0 && centre-float64(sorted[left]) <= float64(sorted[right])-centre {
			d = centre - float64(sorted[left])
			left--
		} else {
			d = float64(sorted[right]) - centre
			right++
		}
	}
	return d
}

func (w *window) mean() float64 {
	sum := 0.0
	for _, v := range w.sorted[:w.n] {
		sum += float64(v)
	}
	return sum / float64(max(1, w.n))
}

// standard is the standard deviation.
func (w *window) standard() float64 {
	mean, sum := w.mean(), 0.0
	for _, v := range w.sorted[:w.n] {
		sum += (float64(v) - mean) * (float64(v) - mean)
	}
	return math.Sqrt(sum / float64(max(1, w.n)))
}
