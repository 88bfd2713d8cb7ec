package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	prom "github.com/prometheus/common/model"

	"triage/internal/model"
)

// snsNotifier posts what Amazon SNS would: an envelope around the message of a CloudWatch alarm, one for each alert. The
// formats are those of "Amazon SNS message and JSON formats" and of CloudWatch's alarm notifications.
type snsNotifier struct{ SNS }

// snsEnvelope is SNS' HTTP notification, unsigned.
type snsEnvelope struct {
	Type      string
	MessageID string `json:"MessageId"`
	TopicArn  string
	Subject   string
	Message   string
	Timestamp string
}

// snsAlarm is the message of a CloudWatch alarm.
type snsAlarm struct {
	AlarmName        string
	AlarmDescription string
	AWSAccountID     string `json:"AWSAccountId"`
	NewStateValue    model.AlarmState
	NewStateReason   string
	StateChangeTime  string
	OldStateValue    model.AlarmState
	Region           string
	AlarmArn         string
	Trigger          struct {
		MetricName string
		Namespace  string
		Dimensions []snsDimension
	}
}

type snsDimension struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

const snsTime = "2006-01-02T15:04:05.000Z"

// Notify posts one message for each alert.
func (n *snsNotifier) Notify(ctx context.Context, alerts ...*amalert.Alert) (retry bool, err error) {
	for i, a := range alerts {
		if retry, err := n.post(ctx, a, i); err != nil {
			return retry, err
		}
	}
	return false, nil
}

func (n *snsNotifier) post(ctx context.Context, a *amalert.Alert, i int) (retry bool, err error) {
	m := snsAlarm{
		AlarmName: string(a.Labels[prom.AlertNameLabel]), AWSAccountID: "000000000000", Region: "local",
		NewStateValue: model.StateAlarm, OldStateValue: model.StateOK, NewStateReason: string(a.Annotations["reason"]),
		StateChangeTime: a.StartsAt.UTC().Format("2006-01-02T15:04:05.000+0000"),
	}
	m.AlarmDescription = string(a.Annotations["summary"])
	if cause := a.Annotations["cause"]; cause != "" {
		m.AlarmDescription += "\nCause: " + string(cause)
	}
	if evidence := a.Annotations["evidence"]; evidence != "" {
		m.AlarmDescription += "\n" + string(evidence)
	}
	m.AlarmDescription += "\n" + string(a.Annotations["incident_url"])
	m.AlarmArn = "arn:aws:cloudwatch:local:000000000000:alarm:" + m.AlarmName
	if a.Resolved() {
		m.NewStateValue, m.OldStateValue = model.StateOK, model.StateAlarm
		m.StateChangeTime = a.EndsAt.UTC().Format("2006-01-02T15:04:05.000+0000")
	}
	m.Trigger.MetricName, m.Trigger.Namespace = string(a.Labels["signal"]), "triage"
	m.Trigger.Dimensions = []snsDimension{}
	for _, name := range []prom.LabelName{"service", "operation"} {
		if v := a.Labels[name]; v != "" {
			m.Trigger.Dimensions = append(m.Trigger.Dimensions, snsDimension{string(name), string(v)})
		}
	}
	inner, err := json.Marshal(m)
	if err != nil {
		return false, err
	}
	body, err := json.Marshal(snsEnvelope{
		Type: "Notification", MessageID: fmt.Sprintf("%s-%d", a.Annotations["message_id"], i), TopicArn: n.Topic,
		Subject: fmt.Sprintf("%s: %q in triage", m.NewStateValue, m.AlarmName), Message: string(inner),
		Timestamp: time.Now().UTC().Format(snsTime),
	})
	if err != nil {
		return false, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.URL, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "text/plain; charset=UTF-8") // as SNS does
	req.Header.Set("x-amz-sns-message-type", "Notification")
	req.Header.Set("x-amz-sns-message-id", fmt.Sprintf("%s-%d", a.Annotations["message_id"], i))
	req.Header.Set("x-amz-sns-topic-arn", n.Topic)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return true, err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // so that the connection can be used again
	if res.StatusCode/100 != 2 {
		return res.StatusCode/100 == 5 || res.StatusCode == http.StatusTooManyRequests, fmt.Errorf("%s answered %s", n.URL, res.Status)
	}
	return false, nil
}
