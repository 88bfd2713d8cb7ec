package diagnose

import (
	"strconv"
	"strings"

	"triage/internal/model"
)

// phrase is one thing a verdict can say, in each language. {0}, {1}, ... are arguments. In Korean an argument may be
// followed by a pair of particles, {0:이/가}, of which the one that fits its last sound is written.
type phrase struct{ en, ko string }

// sentences are the claims of evidence and of what was ruled out, by key. The arguments of each key are set in package
// explain; a test holds that every key it uses stands here in both languages.
var sentences = map[string]phrase{
	// Where.
	"exclusive":      {"{0} takes {1} of a request, usually {2}.", "요청 하나에서 {0:이/가} 차지하는 시간이 {1}입니다(평소 {2})."},
	"origin":         {"{1} of the failures begin in {0}, at {2}.", "실패의 {1}가 {0}의 {2}에서 시작됩니다."},
	"origin_message": {"{1} of the failures begin in {0}, at {2}: \"{3}\".", "실패의 {1}가 {0}의 {2}에서 시작됩니다: \"{3}\"."},
	// Callers.
	"holder_connection-seconds": {"{0} held {1} of {2}'s connection-seconds since {3} (usual {4}).", "{3}부터 {0:이/가} {2} 커넥션 점유 시간의 {1}를 차지했습니다(평소 {4})."},
	"holder_database-seconds":   {"{0} used {1} of {5}'s database time since {3} (usual {4}).", "{3}부터 {0:이/가} {5}의 데이터베이스 시간의 {1}를 사용했습니다(평소 {4})."},
	"holder_busy-seconds":       {"{0} took {1} of {5}'s time since {3} (usual {4}).", "{3}부터 {0:이/가} {5}의 처리 시간의 {1}를 차지했습니다(평소 {4})."},
	"attribute":                 {"{0} = {1} on {2} of the bad requests, on {3} of the rest.", "{0} = {1}: 문제 요청의 {2}, 나머지 요청의 {3}."},
	"surge":                     {"{0} receives {1}, usually {2}.", "{0}에 들어오는 요청이 {1}입니다(평소 {2})."},
	// Resources.
	"pool_used":          {"{0}'s pool has {1} of {2} connections in use, usually {3}.", "{0}의 풀에서 커넥션 {2}개 중 {1}개가 사용 중입니다(평소 {3}개)."},
	"pool_growth":        {"{0}'s pool has {1} connections in use, usually {2}.", "{0}의 풀에서 커넥션 {1}개가 사용 중입니다(평소 {2}개)."},
	"pool_waits":         {"Requests of {0} wait for the pool: {1} is {2}, usually {3}.", "{0}의 요청이 풀을 기다립니다: {1} = {2}(평소 {3})."},
	"cpu":                {"{0}'s CPU is at {1}, usually {2}.", "{0}의 CPU 사용률이 {1}입니다(평소 {2})."},
	"cpu_growth":         {"{0} uses {1} CPUs, usually {2}.", "{0:이/가} CPU {1}개를 사용합니다(평소 {2}개)."},
	"cpu_throttled":      {"{0} is throttled: {1} is {2}, usually {3}.", "{0}의 CPU 사용이 제한되고 있습니다: {1} = {2}(평소 {3})."},
	"cpu_starved":        {"{0} waits for a processor: {1} is {2}, usually {3}.", "{0:이/가} CPU를 기다립니다: {1} = {2}(평소 {3})."},
	"memory_used":        {"{0} uses {1} of {2} memory, usually {3}.", "{0:이/가} 메모리 {2} 중 {1}를 사용합니다(평소 {3})."},
	"memory_growth":      {"{0}'s memory grew to {1}, usually {2}.", "{0}의 메모리가 {1}까지 늘었습니다(평소 {2})."},
	"memory_collection":  {"{0} collects garbage: {1} is {2}, usually {3}.", "{0}의 가비지 컬렉션이 늘었습니다: {1} = {2}(평소 {3})."},
	"disk_used":          {"{0}'s disk is {1} full, usually {2}.", "{0}의 디스크가 {1} 찼습니다(평소 {2})."},
	"descriptors_used":   {"{0} has {1} of {2} files open, usually {3}.", "{0:이/가} 파일 디스크립터 {2}개 중 {1}개를 열었습니다(평소 {3}개)."},
	"descriptors_growth": {"{0} has {1} files open, usually {2}.", "{0:이/가} 파일 디스크립터 {1}개를 열었습니다(평소 {2}개)."},
	// Log lines.
	"log_new":  {"{0} logged {2} times, new since {3}: \"{1}\".", "{0}에 {3}부터 새 로그가 {2}번 나타났습니다: \"{1}\"."},
	"log_more": {"{0} logs more often ({2} lines, before {3}): \"{1}\".", "{0}에 이 로그가 늘었습니다({2}줄, 이전 {3}줄): \"{1}\"."},
	"log_less": {"{0} logs less often ({2} lines, before {3}): \"{1}\".", "{0}에 이 로그가 줄었습니다({2}줄, 이전 {3}줄): \"{1}\"."},
	// Requests of one time against those of another.
	"request_logs":         {"Of {0}'s requests {1}, {2} log \"{4}\", usually {3}.", "{0}의 {1} 요청 중 {2}에서 이 로그가 남습니다(평소 {3}): \"{4}\"."},
	"request_logs_between": {"Of {0}'s requests {1}, {2} log \"{4}\", usually {3}; it stands between \"{5}\" and \"{6}\".", "{0}의 {1} 요청 중 {2}에서 이 로그가 남습니다(평소 {3}): \"{4}\". 앞뒤의 로그: \"{5}\", \"{6}\"."},
	"request_runs":         {"Of {0}'s requests {1}, {2} run {4}, usually {3}.", "{0}의 {1} 요청 중 {2}에서 {4:이/가} 실행됩니다(평소 {3})."},
	"request_calls":        {"Of {0}'s requests {1}, {2} call {4}, usually {3}.", "{0}의 {1} 요청 중 {2}에서 {4:을/를} 호출합니다(평소 {3})."},
	"request_fails":        {"Of {0}'s requests {1}, {2} fail, usually {3}.", "{0}의 {1} 요청 중 {2}가 실패합니다(평소 {3})."},
	"own_time":             {"{0} itself takes {2} for {1}, usually {3}.", "{0} 자체의 {1} 처리 시간이 {2}입니다(평소 {3})."},
	// Places by metrics alone.
	"place_slower":  {"A request to {0} takes {1}, before the alarm {2}: {3} more in all, {4} of them its own, {5} times its noise.", "{0} 요청 하나가 {1} 걸립니다(알람 이전 {2}). 모두 {3} 늘었고 그중 {4}가 자체 시간이며, 평소 변동의 {5}배입니다."},
	"place_failing": {"{1} of the requests to {0} fail, before the alarm {2}: {3} more in all, {4} of them its own, {5} times its noise.", "{0} 요청의 {1}가 실패합니다(알람 이전 {2}). 모두 {3}건 늘었고 그중 {4}건이 자체 실패이며, 평소 변동의 {5}배입니다."},
	// Edges and dependencies.
	"edge_wait":       {"A call {0} spends {1} on the way, usually {2}.", "{0} 호출이 네트워크에서 {1} 걸립니다(평소 {2})."},
	"edge_stalls":     {"Some calls {0} stall: {1} on the way on average, {2} in the middle.", "일부 {0} 호출이 멈춥니다: 네트워크 평균 {1}, 중앙값 {2}."},
	"calls_fail":      {"{1} of the calls to {0} fail, usually {2}; requests go on without.", "{0} 호출의 {1}가 실패합니다(평소 {2}). 요청은 그 없이 계속됩니다."},
	"server_usual":    {"{0} itself answers in {1}, usually {2}.", "{0} 자체의 처리 시간은 {1}입니다(평소 {2})."},
	"database_slow":   {"A call to {0} takes {1}, usually {2}.", "{0} 호출 한 번이 {1} 걸립니다(평소 {2})."},
	"database_usual":  {"A call to {0} takes {1} (usual {2}): the time passes before the query.", "{0} 호출은 {1}입니다(평소 {2}). 시간은 쿼리 이전에 소요됩니다."},
	"statement_waits": {"\"{0}\" takes {1} on average, usually {2}, and at times still {3}: it waits for locks.", "\"{0}\" 문이 평균 {1} 걸리지만(평소 {2}) 빠를 때는 여전히 {3}입니다. 잠금을 기다리고 있습니다."},
	"reads_usual":     {"Statements that need no lock take {0}, usually {1}.", "잠금이 필요 없는 문은 {0}입니다(평소 {1})."},
	"repeats":         {"{0} makes {2} calls to {1} for each of its own requests, usually {3}.", "{0:이/가} 요청 하나마다 {1:을/를} {2}번 호출합니다(평소 {3}번)."},
	"repeats_fail":    {"{1} of the calls to {0} fail, usually {2}.", "{0} 호출의 {1}가 실패합니다(평소 {2})."},
	"misses":          {"{0} asks the database {1} times a request for what it asked {2} times before: \"{3}\".", "{0:이/가} 요청 하나마다 데이터베이스에 {1}번 묻습니다(평소 {2}번): \"{3}\"."},
	"consumes":        {"{0} takes {1} for a message, usually {2}.", "{0:이/가} 메시지 하나를 처리하는 데 {1} 걸립니다(평소 {2})."},
	"queue_wait":      {"Messages wait {1} until {0} takes them, usually {2}.", "메시지가 {0:이/가} 가져갈 때까지 {1} 기다립니다(평소 {2})."},
	"key_share":       {"{0} = {1} in {2} of the requests, usually in {3}.", "{0} = {1}: 요청의 {2}(평소 {3})."},
	"key_slower":      {"Requests for {0} take {1}, others {2}.", "{0} 요청은 {1}, 나머지는 {2} 걸립니다."},
	"flood":           {"{0} sends messages to {1} at {2}, usually {3}.", "{0:이/가} {1:으로/로} 보내는 메시지가 {2}입니다(평소 {3})."},
	// Changes.
	"change_before": {"{0} took effect {1} before the onset, at {2}: {3}.", "{0:이/가} 시작 {1} 전인 {2}에 적용되었습니다: {3}."},
	"change_at":     {"{0} took effect at the onset, at {2}: {3}.", "{0:이/가} 시작 시점인 {2}에 적용되었습니다: {3}."},
	"version":       {"{2} of the requests to {0} {1} are bad, {3} of those to other versions.", "{0} {1} 요청의 {2}에 문제가 있습니다(다른 버전은 {3})."},
	// Ruled out.
	"changed_below":     {"{0}: {1} changed too ({2} of the requests, usually {3}), but it calls {4}, which changed more", "{0}: {1}도 달라졌지만(요청의 {2}, 평소 {3}) 더 크게 달라진 {4:을/를} 호출함"},
	"behaves_usual":     {"{0}: {1} requests handled as usual, the largest change is from {3} to {2} of them", "{0}: 요청 {1}건을 평소처럼 처리, 가장 큰 변화는 {3} → {2}"},
	"place_usual_s":     {"{0}: {1} (before {2}), {3} times its noise", "{0}: {1}(이전 {2}), 평소 변동의 {3}배"},
	"time_usual":        {"{0}: {1} (usual {2})", "{0}: {1}(평소 {2})"},
	"network_usual":     {"network {0}: {1} (usual {2})", "네트워크 {0}: {1}(평소 {2})"},
	"cpu_usual":         {"{0}'s CPU: {1} (usual {2})", "{0} CPU: {1}(평소 {2})"},
	"memory_usual":      {"{0}'s memory: {1} of its limit (usual {2})", "{0} 메모리: 한도의 {1}(평소 {2})"},
	"pool_usual":        {"{0}'s pool: {1} in use (usual {2})", "{0} 풀: {1} 사용 중(평소 {2})"},
	"disk_usual":        {"{0}'s disk: {1} full (usual {2})", "{0} 디스크: {1} 사용(평소 {2})"},
	"descriptors_usual": {"{0}'s open files: {1} of the limit (usual {2})", "{0} 파일 디스크립터: 한도의 {1}(평소 {2})"},
	"no_change":         {"nothing within {0} before the onset", "시작 전 {0} 안에 없음"},
	"change_elsewhere":  {"{0}: {2} of the trouble lies in {1}", "{0}: 문제의 {2}만 {1}에 있음"},
	"rate_usual":        {"traffic of {0}: {1} (usual {2})", "{0} 트래픽: {1}(평소 {2})"},
	"rate_less":         {"traffic of {0}: {1}, less than usual ({2})", "{0} 트래픽: {1}, 평소보다 적음({2})"},
	"messages_usual":    {"messages {0}→{1}: {2} (usual {3})", "메시지 {0}→{1}: {2}(평소 {3})"},
}

// headlines say a cause in one sentence: {0} the entity, {1} the resource's owner, {2} what a call leads to.
var headlines = map[model.Mechanism]phrase{
	model.PoolExhaustion:       {"The connection pool of {1} ran out.", "{1}의 커넥션 풀이 고갈되었습니다."},
	model.SlowQuery:            {"{0} became slow.", "{0:이/가} 느려졌습니다."},
	model.HotKey:               {"Everybody asks for {0} at once.", "모두가 동시에 {0:을/를} 요청하고 있습니다."},
	model.RetryStorm:           {"{0}'s retries overload what it calls.", "{0}의 재시도가 호출 대상을 과부하 상태로 만들고 있습니다."},
	model.CacheStampede:        {"{0}'s cache no longer answers; each request works out what it held.", "{0}의 캐시가 응답하지 않아 요청마다 결과를 다시 계산합니다."},
	model.SlowConsumer:         {"{0} cannot keep up with its messages.", "{0:이/가} 메시지를 제때 처리하지 못합니다."},
	model.DiskFull:             {"{0} has no room left on its disk.", "{0}의 디스크에 남은 공간이 없습니다."},
	model.DNSFailure:           {"The name of {2} cannot be resolved.", "{2}의 이름을 확인할 수 없습니다(DNS)."},
	model.LockWait:             {"Requests wait for locks in {0}.", "요청이 {0}의 잠금을 기다리고 있습니다."},
	model.SlowCode:             {"{0}'s own code became slow.", "{0}의 코드 자체가 느려졌습니다."},
	model.FailingCode:          {"{0}'s own code fails.", "{0}의 코드에서 오류가 발생합니다."},
	model.NetworkDelay:         {"The network {0} became slow.", "{0} 구간의 네트워크가 느려졌습니다."},
	model.NetworkLoss:          {"Calls {0} break or stall on the way.", "{0} 구간의 호출이 도중에 끊기거나 멈춥니다."},
	model.EventFlood:           {"{0} floods its consumers with messages.", "{0:이/가} 메시지를 과도하게 보내고 있습니다."},
	model.BadDeployment:        {"The deployment {0} did harm.", "배포 {0:이/가} 문제를 일으켰습니다."},
	model.Configuration:        {"The configuration {0} did harm.", "설정 {0:이/가} 문제를 일으켰습니다."},
	model.CPUSaturation:        {"{0} ran out of CPU.", "{0}의 CPU가 포화되었습니다."},
	model.MemoryPressure:       {"{0} runs out of memory.", "{0}의 메모리가 부족합니다."},
	model.DependencyDown:       {"{0} does not answer.", "{0:이/가} 응답하지 않습니다."},
	model.SlowDependency:       {"{0} answers slowly.", "{0}의 응답이 느려졌습니다."},
	model.TrafficSurge:         {"More requests than usual come from {0}.", "{0}에서 평소보다 많은 요청이 들어옵니다."},
	model.AbnormalRequests:     {"The requests of {0} alone are in trouble.", "{0}의 요청에만 문제가 있습니다."},
	model.DescriptorExhaustion: {"{0} cannot open more files or connections.", "{0:이/가} 파일이나 연결을 더 열 수 없습니다."},
}

// networkOfService is for the case that all connections of one service are slow.
var networkOfService = phrase{"The network of {0} became slow.", "{0}의 네트워크가 느려졌습니다."}

// callerHeadline is for the case that someone exhausted a pool.
var callerHeadline = map[string]phrase{
	"user":    {"One user's requests exhausted the connection pool of {1}.", "한 사용자의 요청이 {1}의 커넥션 풀을 고갈시켰습니다."},
	"tenant":  {"One tenant's requests exhausted the connection pool of {1}.", "한 테넌트의 요청이 {1}의 커넥션 풀을 고갈시켰습니다."},
	"service": {"Requests of {0} exhausted the connection pool of {1}.", "{0}의 요청이 {1}의 커넥션 풀을 고갈시켰습니다."},
	"host":    {"Requests from one address exhausted the connection pool of {1}.", "한 주소에서 온 요청이 {1}의 커넥션 풀을 고갈시켰습니다."},
}

// labels are the words of the sketch itself.
var labels = map[string]phrase{
	"no_cause":     {"No cause found.", "원인을 찾지 못했습니다."},
	"what":         {"WHAT", "무엇"},
	"where":        {"WHERE", "어디"},
	"why":          {"WHY", "왜"},
	"changed":      {"CHANGED", "변경"},
	"ruled_out":    {"RULED OUT", "배제"},
	"first":        {"FIRST", "최초"},
	"also":         {"ALSO", "후보"},
	"confidence":   {"CONFIDENCE", "신뢰도"},
	"usual":        {"usual", "평소"},
	"since":        {"since {0}", "{0}부터"},
	"now":          {"{0} now · usual {1}", "현재 {0} · 평소 {1}"},
	"felt":         {"{0} requests", "요청 {0}건"},
	"users":        {"{0} users affected", "영향받은 사용자 {0}명"},
	"user":         {"{0} user affected", "영향받은 사용자 {0}명"},
	"errors":       {"{0} fail", "실패 {0}"},
	"trace_bad":    {"trace: bad", "트레이스: 문제"},
	"trace_normal": {"trace: normal", "트레이스: 정상"},
	"nothing":      {"nothing near the onset", "시작 시점 부근에 없음"},
	"none":         {"nothing", "없음"},
	"duration":     {"latency", "지연 시간"},
	"failures":     {"errors", "오류"},
	"rate":         {"rate", "요청률"},
	"metric":       {"metric", "지표"},
	"times_usual":  {"{0} its usual", "평소의 {0}"},
	"orphans":      {"{0} of the spans have lost their parent", "스팬의 {0}가 부모를 잃음"},
	"skew":         {"clocks differ by {0}", "시계가 {0} 어긋남"},
	"sampling":     {"{0} of the traces are kept", "트레이스의 {0}만 보관됨"},
	"missing":      {"a part of the data is missing: {0}", "데이터 일부가 없음: {0}"},
	"lag":          {"the newest span is {0} old", "가장 최근 스팬이 {0} 전"},
}

func (p phrase) in(lang string) string {
	if lang == "ko" {
		return p.ko
	}
	return p.en
}

// sentence writes the claim of a key; an unknown key is written as it is, so that nothing is hidden.
func sentence(lang, key string, args []string) string {
	p, ok := sentences[key]
	if !ok {
		return strings.TrimSpace(key + " " + strings.Join(args, " "))
	}
	return fill(p.in(lang), args)
}

func word(lang, key string, args ...string) string { return fill(labels[key].in(lang), args) }

// fill puts arguments into a pattern.
func fill(pattern string, args []string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(pattern, '{')
		if i < 0 {
			break
		}
		j := strings.IndexByte(pattern[i:], '}')
		if j < 0 {
			break
		}
		b.WriteString(pattern[:i])
		number, particles, _ := strings.Cut(pattern[i+1:i+j], ":")
		if n, err := strconv.Atoi(number); err == nil && n < len(args) {
			b.WriteString(args[n])
			if particles != "" {
				b.WriteString(particle(args[n], particles))
			}
		}
		pattern = pattern[i+j+1:]
	}
	return b.String() + pattern
}
