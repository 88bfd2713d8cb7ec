// Package exam examines triage: it draws what to break, keeps the answers in a file that outlives an interruption, and
// works out how good they were. It breaks nothing itself and asks nobody; package demo does, run by run.
//
//	seed, number --Plan.Question--> what to break --demo--> Run --Ledger--> file
//	                                                         └--Summarize--> tables
package exam

import (
	"math/rand/v2"
	"time"

	"triage/demo/scenario"
	"triage/internal/model"
)

// Question is one run of an exam: what is broken, how and when.
type Question struct {
	Number   int // from 1
	Scenario scenario.Scenario
	// Seed makes the scenario's choices.
	Seed uint64
	// Rate is how many times the usual rate the customers come.
	Rate float64
	// Wait is how long nothing happens before it.
	Wait time.Duration
}

// Plan deals the runs of an exam.
type Plan struct {
	seed      uint64
	classes   [][]scenario.Scenario // the plain scenarios by the class of what they break
	confusing []scenario.Scenario
}

// The streams of chance of a plan. Each is of its own, so that a choice more in one leaves the others as they are.
const (
	streamPlace uint64 = iota
	streamClass
	streamConfusing
	streamRun
	streamMember // and one more for each class
)

// The customers' rate and the time before a run are drawn from these.
const (
	lowRate, highRate = 0.7, 1.3
	longestWait       = 12 * time.Second
)

// NewPlan makes the plan of a seed. Scenarios in which there is nothing to find are left out.
func NewPlan(seed uint64, scenarios []scenario.Scenario) *Plan {
	p := &Plan{seed: seed}
	place := map[model.Class]int{}
	for _, s := range scenarios {
		truths := s.Draw(scenario.Standard(nil)).Truths
		if len(truths) == 0 {
			continue
		}
		if s.Confusing {
			p.confusing = append(p.confusing, s)
			continue
		}
		class := truths[0].Class
		if _, ok := place[class]; !ok {
			place[class] = len(p.classes)
			p.classes = append(p.classes, nil)
		}
		p.classes[place[class]] = append(p.classes[place[class]], s)
	}
	return p
}

// Question is a run of the exam, counted from 1. It follows from the seed and the number alone: of each three runs one
// is confusing, and of the plain ones as many as there are classes have each class once.
func (p *Plan) Question(number int) Question {
	i := number - 1
	triple, at := i/3, i%3
	confusing := p.deal(streamPlace, 3, triple*3) // the place in this triple that it has
	q := Question{Number: number}
	switch plain := i - triple; {
	case len(p.confusing) == 0:
		q.Scenario = p.plain(i)
	case at == confusing:
		q.Scenario = p.confusing[p.deal(streamConfusing, len(p.confusing), triple)]
	case at > confusing:
		q.Scenario = p.plain(plain - 1)
	default:
		q.Scenario = p.plain(plain)
	}
	rng := p.chance(streamRun, number)
	q.Seed = rng.Uint64()
	q.Rate = lowRate + rng.Float64()*(highRate-lowRate)
	q.Wait = time.Duration(rng.Float64() * float64(longestWait))
	return q
}

// plain is the n-th plain run's scenario.
func (p *Plan) plain(n int) scenario.Scenario {
	class := p.deal(streamClass, len(p.classes), n)
	members := p.classes[class]
	return members[p.deal(streamMember+uint64(class), len(members), n/len(p.classes))]
}

// deal is the n-th card of a stream in which decks of size cards, each well shuffled, follow one another.
func (p *Plan) deal(stream uint64, size, n int) int {
	return p.chance(stream, n/size).Perm(size)[n%size]
}

func (p *Plan) chance(stream uint64, n int) *rand.Rand {
	return rand.New(rand.NewPCG(p.seed, stream<<32|uint64(n)))
}
