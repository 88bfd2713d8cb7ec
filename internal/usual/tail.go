package usual

import "math"

// A tail's classes: four to each doubling, from 2^-10 up.
const (
	classes     = 160
	perDoubling = 4
	smallest    = -10
	// minTail is how many answers must be known before one is a surprise, and tailShare the share of them that is tail.
	minTail   = 100
	tailShare = 0.02
	// priorTail is how many values of the tail the prior counts for, and priorHeavy the exponent that it expects.
	priorTail  = 5.0
	priorHeavy = 4.0
)

// tail is how often the answers of one kind were how large, by which the next becomes a surprise. It is a histogram by
// logarithm, with a Pareto tail past what one in fifty exceeds, whose exponent is Hill's estimator (1975) drawn to a
// prior: how rare something larger than all before is can only be told by how the largest were spread.
type tail struct {
	n     uint32
	count [classes]uint32
}

func (t *tail) add(x float64) {
	t.count[class(x)]++
	t.n++
}

func class(x float64) int {
	if x <= 0 {
		return 0
	}
	return max(0, min(classes-1, int(math.Floor((math.Log2(x)-smallest)*perDoubling))+1))
}

// surprise is how rare an answer as large as x has been, in decades: 3 is once in a thousand.
func (t *tail) surprise(x float64) float64 {
	if t.n < minTail || x <= 0 {
		return 0
	}
	// The tail begins above class b.
	var above uint32
	b := classes - 1
	for ; b > 0; b-- {
		if above > 0 && float64(above+t.count[b]) > tailShare*float64(t.n) {
			break
		}
		above += t.count[b]
	}
	if c := class(x); c <= b {
		for j := b; j >= c; j-- {
			above += t.count[j]
		}
		return -math.Log10(min(1, (float64(above)+0.5)/float64(t.n+1)))
	}
	excess := 0.0 // in classes
	for j := b + 1; j < classes; j++ {
		excess += float64(t.count[j]) * (float64(j-b) - 0.5)
	}
	mean := (excess*math.Ln2/perDoubling + priorTail/priorHeavy) / (float64(above) + priorTail) // of the logarithm
	past := (math.Log2(x)-smallest)*perDoubling - float64(b)
	return -math.Log10((float64(above)+0.5)/float64(t.n+1)) + past*math.Ln2/perDoubling*math.Log10E/mean
}
