// Package v1alpha1 has the types that every long run shares, whether it replaces nodes
// or changes installations: when it may work, what has to hold before it goes on, and
// who is told of it. It is no API group of its own.
//
// +kubebuilder:object:generate=true
package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Window is a time in which a run may begin new work.
type Window struct {
	// Schedule is when the window opens: minute, hour, day of month, month and day of
	// week, as for a CronJob, such as "0 22 * * 1-5".
	// +kubebuilder:validation:MinLength=9
	// +kubebuilder:validation:MaxLength=100
	Schedule string `json:"schedule"`
	// DurationSeconds is how long it stays open: a minute to a week.
	// +kubebuilder:validation:Minimum=60
	// +kubebuilder:validation:Maximum=604800
	DurationSeconds int32 `json:"durationSeconds"`
	// TimeZone is a name of the IANA database, such as Europe/Berlin; UTC without one.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	TimeZone string `json:"timeZone,omitempty"`
}

// OnGateFailure is what a run does when a gate fails.
// +kubebuilder:validation:Enum=Pause;RollBack
type OnGateFailure string

const (
	// PauseOnFailure stops beginning new work until the gate passes or somebody acts.
	PauseOnFailure OnGateFailure = "Pause"
	// RollBackOnFailure takes back what the run has changed.
	RollBackOnFailure OnGateFailure = "RollBack"
)

// Gate is something that has to hold before a run goes on to its next wave, and while it
// bakes one. Exactly one kind of check is given.
// +kubebuilder:validation:XValidation:rule="[has(self.prometheus), has(self.http), has(self.workloads), has(self.nodeCondition), has(self.installations)].filter(x, x).size() == 1",message="give exactly one of prometheus, http, workloads, nodeCondition and installations"
type Gate struct {
	// Name tells gates of one run apart.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// +optional
	Prometheus *PrometheusGate `json:"prometheus,omitempty"`
	// +optional
	HTTP *HTTPGate `json:"http,omitempty"`
	// +optional
	Workloads *WorkloadsGate `json:"workloads,omitempty"`
	// +optional
	NodeCondition *NodeConditionGate `json:"nodeCondition,omitempty"`
	// +optional
	Installations *InstallationsGate `json:"installations,omitempty"`
	// IntervalSeconds is how often it is checked; 15 without one.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	IntervalSeconds int32 `json:"intervalSeconds,omitempty"`
	// Consecutive is how many checks in a row have to agree, either way; 1 without one.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Consecutive int32 `json:"consecutive,omitempty"`
	// TimeoutSeconds is how long the gate may not pass before that counts as a failure of
	// the run; 300 without one.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	TimeoutSeconds int32 `json:"timeoutSeconds,omitempty"`
	// OnFailure is what the run does then; Pause without one. A gate that cannot be checked
	// only ever pauses the run.
	// +optional
	OnFailure OnGateFailure `json:"onFailure,omitempty"`
}

// SecretKey names one value of a Secret.
type SecretKey struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key"`
}

// Comparison is how a number is compared with a threshold.
// +kubebuilder:validation:Enum=Less;LessOrEqual;Equal;GreaterOrEqual;Greater
type Comparison string

// WhenEmpty is what a check says that finds nothing to look at.
// +kubebuilder:validation:Enum=Pass;Fail
type WhenEmpty string

const (
	PassWhenEmpty WhenEmpty = "Pass"
	// FailWhenEmpty keeps a misspelt selector from passing for ever.
	FailWhenEmpty WhenEmpty = "Fail"
)

// Comparisons.
const (
	Less           Comparison = "Less"
	LessOrEqual    Comparison = "LessOrEqual"
	Equal          Comparison = "Equal"
	GreaterOrEqual Comparison = "GreaterOrEqual"
	Greater        Comparison = "Greater"
)

// PrometheusGate passes when every sample that the query returns compares so.
type PrometheusGate struct {
	// URL of the Prometheus API, without /api/v1.
	// +kubebuilder:validation:Pattern=`^https?://`
	// +kubebuilder:validation:MaxLength=2048
	URL string `json:"url"`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Query string `json:"query"`
	// Is is how each sample compares with Value.
	Is Comparison `json:"is"`
	// Value is a decimal number, such as "0.01".
	// +kubebuilder:validation:Pattern=`^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$`
	Value string `json:"value"`
	// Empty is what a query without any sample is; Fail without one.
	// +optional
	Empty WhenEmpty `json:"empty,omitempty"`
	// Authorization is the value of a header Authorization.
	// +optional
	Authorization *SecretKey `json:"authorization,omitempty"`
}

// HTTPGate passes when a GET is answered as wanted. A redirect is an answer, and is not
// followed.
type HTTPGate struct {
	// +kubebuilder:validation:Pattern=`^https?://`
	// +kubebuilder:validation:MaxLength=2048
	URL string `json:"url"`
	// Statuses that pass; 200 to 299 without any.
	// +optional
	// +kubebuilder:validation:MaxItems=20
	Statuses []int32 `json:"statuses,omitempty"`
	// Contains is a text that the first 64 KiB of the answer have to contain.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Contains string `json:"contains,omitempty"`
	// Authorization is the value of a header Authorization.
	// +optional
	Authorization *SecretKey `json:"authorization,omitempty"`
}

// WorkloadsGate passes when every selected Deployment, StatefulSet and DaemonSet has all
// its replicas available, as of its current generation.
type WorkloadsGate struct {
	// Namespaces to look in; all without any.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	Namespaces []string `json:"namespaces,omitempty"`
	// Selector of workloads, by their labels; all without one.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
	// MaxUnavailable is how many of them may lack replicas; 0 without one.
	// +optional
	// +kubebuilder:validation:Minimum=0
	MaxUnavailable int32 `json:"maxUnavailable,omitempty"`
	// Empty is what it is if nothing is selected; Fail without one.
	// +optional
	Empty WhenEmpty `json:"empty,omitempty"`
}

// NodeConditionGate passes when every selected node has a condition of that status.
type NodeConditionGate struct {
	// Type of the condition, such as Ready or DiskPressure.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=316
	Type string `json:"type"`
	// +kubebuilder:validation:Enum=True;False;Unknown
	Status metav1.ConditionStatus `json:"status"`
	// Selector of nodes; all without one.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
	// MaxOther is how many of them may be otherwise; 0 without one.
	// +optional
	// +kubebuilder:validation:Minimum=0
	MaxOther int32 `json:"maxOther,omitempty"`
	// Empty is what it is if nothing is selected; Fail without one.
	// +optional
	Empty WhenEmpty `json:"empty,omitempty"`
}

// InstallationsGate passes when every selected Mattermost is stable.
type InstallationsGate struct {
	// Namespaces to look in; all without any.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	Namespaces []string `json:"namespaces,omitempty"`
	// Selector of installations; all without one.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
	// MaxUnstable is how many of them may be otherwise; 0 without one.
	// +optional
	// +kubebuilder:validation:Minimum=0
	MaxUnstable int32 `json:"maxUnstable,omitempty"`
	// Empty is what it is if nothing is selected; Fail without one.
	// +optional
	Empty WhenEmpty `json:"empty,omitempty"`
}

// GateStatus is what is known of one gate.
type GateStatus struct {
	Name string `json:"name"`
	// Passing says what the last checks agreed on; Unknown until Consecutive did. What
	// fails and can no longer be checked still fails.
	Passing metav1.ConditionStatus `json:"passing"`
	// Message says what was seen last, in a sentence.
	// +optional
	Message string `json:"message,omitempty"`
	// Row is how many of the last checks were alike, counted up to Consecutive, and Last
	// what they saw; Unknown if they could not be made.
	// +optional
	Row int32 `json:"row,omitempty"`
	// +optional
	Last metav1.ConditionStatus `json:"last,omitempty"`
	// +optional
	CheckedAt *metav1.Time `json:"checkedAt,omitempty"`
	// Since is when Passing last changed.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
}

// Notification is somebody who is told of a run. Exactly one kind is given.
// +kubebuilder:validation:XValidation:rule="[has(self.mattermost), has(self.slack), has(self.cloudEvents)].filter(x, x).size() == 1",message="give exactly one of mattermost, slack and cloudEvents"
type Notification struct {
	// Mattermost is an incoming webhook of a Mattermost server.
	// +optional
	Mattermost *WebhookNotification `json:"mattermost,omitempty"`
	// Slack is an incoming webhook of Slack.
	// +optional
	Slack *WebhookNotification `json:"slack,omitempty"`
	// CloudEvents is an address that takes CloudEvents 1.0 in structured mode.
	// +optional
	CloudEvents *WebhookNotification `json:"cloudEvents,omitempty"`
	// Events that are told; all without any.
	// +optional
	// +kubebuilder:validation:MaxItems=10
	Events []NotifiedEvent `json:"events,omitempty"`
}

// NotifiedEvent is one thing that can be told.
// +kubebuilder:validation:Enum=Started;Blocked;Paused;WaveFinished;GateFailed;RollingBack;Succeeded;Failed;Aborted
type NotifiedEvent string

const (
	NotifyStarted      NotifiedEvent = "Started"
	NotifyBlocked      NotifiedEvent = "Blocked"
	NotifyPaused       NotifiedEvent = "Paused"
	NotifyWaveFinished NotifiedEvent = "WaveFinished"
	NotifyGateFailed   NotifiedEvent = "GateFailed"
	NotifyRollingBack  NotifiedEvent = "RollingBack"
	NotifySucceeded    NotifiedEvent = "Succeeded"
	NotifyFailed       NotifiedEvent = "Failed"
	NotifyAborted      NotifiedEvent = "Aborted"
)

// WebhookNotification is where a notification is sent.
type WebhookNotification struct {
	// URL is the value of a Secret, since whoever knows it can post.
	URL SecretKey `json:"url"`
	// Channel overrides that of the webhook, where it can.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Channel string `json:"channel,omitempty"`
}

// Wait is one thing that a run waits for.
type Wait struct {
	// Subject is what waits, such as Node/ip-10-0-0-1 or the run.
	Subject string `json:"subject"`
	// For is what is waited for, such as PodDisruptionBudget/shop/payments.
	// +optional
	For string `json:"for,omitempty"`
	// Reason in a word.
	Reason string `json:"reason"`
	// Message says what somebody can do.
	// +optional
	Message string `json:"message,omitempty"`
	// Since is when the wait began.
	Since metav1.Time `json:"since"`
	// Until is when the run will do something else, if nothing changes.
	// +optional
	Until *metav1.Time `json:"until,omitempty"`
}

// Untold is an event of which somebody has still to be told.
type Untold struct {
	// Recipient is the place of who is told among the notifications of the run.
	Recipient int32         `json:"recipient"`
	Event     NotifiedEvent `json:"event"`
	// Sequence tells events of one kind apart.
	Sequence int64       `json:"sequence"`
	Text     string      `json:"text"`
	At       metav1.Time `json:"at"`
}
