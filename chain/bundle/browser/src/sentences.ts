/** The sentences of a report, in English and Chinese; `{name}` is replaced by a value. */
import { utc } from "./printable.ts";

export type Language = "en" | "zh";
export type Value = string | number | bigint | Sentence | Sentence[];

export interface Sentence {
  key: keyof typeof TEXTS;
  values: Readonly<Record<string, Value>>;
}

export function say(key: keyof typeof TEXTS, values: Record<string, Value> = {}): Sentence {
  return { key, values };
}

/** Parts with commas between them. */
export function list(parts: Sentence[]): Sentence[] {
  return parts.flatMap((part, at) => (at ? [say("comma"), part] : [part]));
}

/** A moment in a sentence. */
export function time(seconds: number | bigint): Sentence {
  return say("time", { time: utc(seconds) });
}

export function render(sentence: Sentence, language: Language): string {
  const template = TEXTS[sentence.key][language];
  return template.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = sentence.values[name];
    if (Array.isArray(value)) return value.map((part) => render(part, language)).join("");
    return typeof value === "object" ? render(value, language) : String(value);
  });
}

const TEXTS = {
  // --- What every kind of bundle says -----------------------------------------------------------
  time: { en: "{time}", zh: "{time}" },
  block: { en: "block {height}", zh: "区块 {height}" },
  blockAt: { en: "block {height} ({time})", zh: "区块 {height}（{time}）" },
  blockBy: {
    en: "block {height} (no later than {time})",
    zh: "区块 {height}（不晚于 {time}）",
  },
  noEarlierLook: {
    en:
      "It proves what was signed, when it was anchored and what was paid; " +
      "it cannot prove that nobody looked earlier.",
    zh: "本证据包证明各方的声明、锚定时间和支付情况；不能证明没有人更早看过数据。",
  },
  ignoredSignature: {
    en:
      "A checkpoint of {member}'s log carries {count} signature of keys " +
      "that the trust file does not name; they were ignored.",
    zh: "{member} 的日志检查点含有 {count} 个信任文件未列出的密钥的签名，已忽略。",
  },
  ignoredSignatures: {
    en:
      "A checkpoint of {member}'s log carries {count} signatures of keys " +
      "that the trust file does not name; they were ignored.",
    zh: "{member} 的日志检查点含有 {count} 个信任文件未列出的密钥的签名，已忽略。",
  },
  logged: {
    en: "The {what} is entry {index} of {member}'s log, anchored in {block}.",
    zh: "{what}是 {member} 日志的第 {index} 条记录，锚定于{block}。",
  },
  receipt: { en: "receipt", zh: "计量回执" },
  agreement: { en: "agreement", zh: "合同" },
  finalSettlement: { en: "final settlement", zh: "终结清算" },

  // --- Trade and lane ---------------------------------------------------------------------------
  agreementSigned: {
    en:
      "{provider} and {buyer} both signed the agreement for {purpose} at {price} fen a unit; " +
      "it opened in {block}.",
    zh: "{provider} 与 {buyer} 双方签署了用途为 {purpose} 的合同，单价 {price} 分；合同于{block}开通。",
  },
  finalTotals: {
    en:
      "Both sides signed final totals of {units} units and {amount} fen; by them the chain paid, " +
      "refunded and closed in {block}, without a window.",
    zh: "双方签署了 {units} 个计量单位、{amount} 分的终结清算；链上据此于{block}支付、退款并结清，无窗口期。",
  },
  receiptAnswers: {
    en: "The receipt of position {seq} of lane {lane} answers the buyer's request, for {units} units.",
    zh: "通道 {lane} 第 {seq} 个序号的回执对应买方的请求，计 {units} 个单位。",
  },
  refusalAcknowledged: {
    en: "The buyer acknowledged this refusal.",
    zh: "买方确认了这次拒绝。",
  },
  refusalNotAcknowledged: {
    en: "The buyer has not acknowledged this refusal: only the provider asserts it.",
    zh: "买方没有确认这次拒绝：仅有提供方的陈述。",
  },
  callRefused: {
    en: "The call was refused ({reason}) and costs nothing.",
    zh: "调用被拒绝（{reason}），不计费。",
  },
  acknowledged: {
    en:
      "The buyer's next signature names this receipt and acknowledges {amount} fen up to it.",
    zh: "买方的下一个签名指明本回执，并确认截至本回执共 {amount} 分。",
  },
  free: {
    en: "The agreement is free: there is nothing to claim.",
    zh: "合同为无偿共享：无需请款。",
  },
  claimed: {
    en:
      "The chain's lane is at {amount} fen up to position {seq}, " +
      "which takes the buyer's signature: the call was claimed.",
    zh: "链上通道记录为截至第 {seq} 个序号共 {amount} 分，这需要买方的签名：本次调用已请款。",
  },
  paidTo: { en: "{member} was paid {amount} fen.", zh: "{member} 已获支付 {amount} 分。" },
  closed: {
    en:
      "Of {opened} fen opened, {paid} were paid and {refunded} refunded when it closed in {block}.",
    zh: "开通的 {opened} 分中，于{block}结清时已支付 {paid} 分、退款 {refunded} 分。",
  },
  stillOpen: {
    en: "Of {opened} fen opened, {paid} were paid so far and {locked} are locked.",
    zh: "开通的 {opened} 分中，目前已支付 {paid} 分，锁定 {locked} 分。",
  },
  laneShown: {
    en:
      "Lane {lane} is shown from position 1 to {last}, none missing between: " +
      "{served} served, {refused} refused.",
    zh: "通道 {lane} 展示了第 1 至 {last} 个序号，中间没有缺失：已提供 {served} 次，拒绝 {refused} 次。",
  },
  laneDelivered: {
    en: "{voided} of them were voided; {units} units for {amount} fen were delivered in all.",
    zh: "其中 {voided} 次作废；共交付 {units} 个单位，计 {amount} 分。",
  },
  laneContinuous: {
    en:
      "Every receipt is in a party's anchored log and continues the one before it.",
    zh: "每张回执都在一方已锚定的日志中，并与前一张衔接。",
  },
  acknowledgedUpTo: {
    en: "The buyer acknowledged every position up to {last}.",
    zh: "买方确认了截至第 {last} 个序号的全部调用。",
  },
  acknowledgedButLast: {
    en: "The buyer acknowledged every position up to {last}, the last one not.",
    zh: "买方确认了截至第 {last} 个序号的全部调用，最后一个未确认。",
  },
  laneClaimed: {
    en: "The chain's lane is at {claimed} of {amount} fen, never more than delivered.",
    zh: "链上通道记录为 {amount} 分中的 {claimed} 分，从未超过交付。",
  },
  laneLeftOut: {
    en:
      "The chain has been paid up to position {last}: positions {first} to {last} are not in this " +
      "bundle, and cost nothing.",
    zh: "链上已支付至第 {last} 个序号：第 {first} 至 {last} 个序号不在本证据包中，不计费。",
  },
  laterPositionsFree: {
    en:
      "Nothing shows whether the lane has positions after {last}: the chain keeps no count of free " +
      "calls. The other party may hold later receipts.",
    zh: "无法证明通道在第 {last} 个序号之后是否还有调用：链上不记录免费调用的次数。对方可能持有更晚的回执。",
  },
  laterPositionsPaid: {
    en:
      "Nothing shows whether the lane has positions after {last}: the chain knows a position only once " +
      "it is claimed. The other party may hold later receipts.",
    zh: "无法证明通道在第 {last} 个序号之后是否还有调用：调用在请款之后才在链上可见。对方可能持有更晚的回执。",
  },
  contentClosed: {
    en:
      "What was asked and what was answered is not all opened: " +
      "what stays closed is only committed to.",
    zh: "查询和答复的内容没有全部公开：未公开的部分只有承诺值。",
  },
  lookedAt: {
    en: "{buyer} asked for {columns} of {subject}, for {purpose}.",
    zh: "{buyer} 查询了 {subject} 的 {columns}，用途为 {purpose}。",
  },
  lookConsent: {
    en: "It named the subject's consent {consent}.",
    zh: "查询注明的主体同意为 {consent}。",
  },
  lookNoConsent: {
    en: "It named no consent of the subject.",
    zh: "查询没有注明主体同意。",
  },
  lookAnswered: {
    en: "It was answered, for {units} units.",
    zh: "已答复，计量 {units} 个单位。",
  },
  lookRefused: {
    en: "It was refused ({reason}): nothing was delivered.",
    zh: "已拒绝（{reason}）：没有交付任何数据。",
  },
  answerClosed: {
    en: "What was answered is not opened: the receipt only commits to it.",
    zh: "答复内容没有公开：回执只含其承诺值。",
  },
  requestOpened: {
    en: "What was asked is shown and is what the request committed to.",
    zh: "查询内容已公开，与请求的承诺值一致。",
  },
  responseOpened: {
    en: "What was answered is shown and is what the receipt committed to.",
    zh: "答复内容已公开，与回执的承诺值一致。",
  },
  servedOn: {
    en: "What was served was served on {views}, by the provider's receipts; the log shows them by {block}.",
    zh: "根据提供方的回执，已提供的调用依据{views}；日志不晚于{block}载有这些回执。",
  },
  oneView: { en: "a view of {block}", zh: "{block}的链视图" },
  twoViews: { en: "views of {first} to {last}", zh: "{first}至{last}的链视图" },
  revokedAfter: {
    en: "The grant was revoked in {block}, after these views.",
    zh: "授权于{block}撤销，晚于这些链视图。",
  },
  loggedAfterRevocation: {
    en:
      "The log shows the receipts of {positions} only after the grant's revocation: " +
      "only the two parties claim that those calls were served before.",
    zh: "日志在授权撤销之后才载有{positions}的回执：这些调用早于撤销，仅有双方的陈述。",
  },
  onePosition: { en: "position {seq}", zh: "第 {seq} 个序号" },
  manyPositions: {
    en: "{count} positions, {first} to {last},",
    zh: "第 {first} 至 {last} 个序号中 {count} 个",
  },

  // --- Dispute ----------------------------------------------------------------------------------
  agreementOpened: {
    en:
      "The chain opened the agreement of {provider} and {buyer} for {purpose} at {price} fen a " +
      "unit in {block}, under both signatures.",
    zh: "链上于{block}依双方签名开通了 {provider} 与 {buyer} 用途为 {purpose} 的合同，单价 {price} 分。",
  },
  receiptSigned: {
    en:
      "{provider} signed a receipt of {units} units for {amount} fen for position {seq} of lane " +
      "{lane}.",
    zh: "{provider} 为通道 {lane} 第 {seq} 个序号签署了 {units} 个单位、{amount} 分的回执。",
  },
  receiptClaimed: {
    en:
      "{provider} claimed {amount} fen for position {seq} of lane {lane}, which {buyer} had not " +
      "acknowledged; the chain took the claim in {block}, with {buyer}'s signature of the request " +
      "and {provider}'s of the receipt.",
    zh:
      "{provider} 就通道 {lane} 第 {seq} 个序号请款 {amount} 分，{buyer} 没有确认该调用；" +
      "链上于{block}依 {buyer} 对请求的签名和 {provider} 对回执的签名受理。",
  },
  contested: {
    en: "{buyer} contested it in {block}, for the reason {reason}.",
    zh: "{buyer} 于{block}提出异议，原因 {reason}。",
  },
  answeredAgain: {
    en: "{provider} served an answer again in {block}; its SHA-256 is {digest}.",
    zh: "{provider} 于{block}重新提供应答；其 SHA-256 为 {digest}。",
  },
  disputeOpen: { en: "The dispute is open.", zh: "争议尚未结束。" },
  endedUncontested: {
    en:
      "{buyer} neither acknowledged nor contested it in time: the dispute ended in {block}, and " +
      "{amount} fen were paid.",
    zh: "{buyer} 没有按期确认或提出异议：争议于{block}结束，支付 {amount} 分。",
  },
  endedAcknowledged: {
    en:
      "{buyer} acknowledged the call: the dispute ended in {block}, and the acknowledgement counts.",
    zh: "{buyer} 确认了该调用：争议于{block}结束，以该确认为准。",
  },
  endedUnanswered: {
    en:
      "{provider} did not serve the answer again in time: the dispute ended in {block}, and the " +
      "call is unpaid.",
    zh: "{provider} 没有按期重新提供应答：争议于{block}结束，该调用不付款。",
  },
  endedUnruled: {
    en: "{arbiter} did not rule in time: the dispute ended in {block}, and the call is unpaid.",
    zh: "{arbiter} 没有按期裁决：争议于{block}结束，该调用不付款。",
  },
  endedOverCap: {
    en:
      "The agreement's caps left no room for the call: the dispute ended in {block}, and the call " +
      "is unpaid.",
    zh: "合同上限不足以支付该调用：争议于{block}结束，该调用不付款。",
  },
  ruled: {
    en:
      "{arbiter} ruled in {block} that {paid} of {amount} fen are paid, citing the log entries " +
      "{evidence}; the chain took the ruling under its signature.",
    zh:
      "{arbiter} 于{block}裁决支付 {amount} 分中的 {paid} 分，引用日志记录 {evidence}；" +
      "链上依其签名受理该裁决。",
  },
  stakeLost: {
    en: "The stake of {stake} fen of {buyer} went to {provider}.",
    zh: "{buyer} 的押金 {stake} 分归 {provider}。",
  },
  stakeReturned: {
    en: "The stake of {stake} fen went back to {buyer}.",
    zh: "押金 {stake} 分退还 {buyer}。",
  },
  stakeReturnedWithBond: {
    en:
      "The stake of {stake} fen went back to {buyer}, and as much of the bond of {provider} as was " +
      "held.",
    zh: "押金 {stake} 分退还 {buyer}，并从 {provider} 的保证金中以现有余额为限支付同等金额。",
  },
  laneStands: {
    en: "The chain's lane is at {amount} fen up to position {seq}.",
    zh: "链上通道记录为截至第 {seq} 个序号共 {amount} 分。",
  },
  receiptsDiffer: {
    en: "They differ: two receipts for one position are an offence of the provider.",
    zh: "两张回执不同：为一个序号签署两张回执是提供方的违规行为。",
  },
  equivocationUnknown: {
    en:
      "The chain has not been shown two receipts for this position: nobody is paid for it until " +
      "somebody does.",
    zh: "链上尚未收到该序号的两张回执：在有人提交之前不作任何赔付。",
  },
  equivocationProved: {
    en:
      "The chain was shown two receipts for this position: {taken} fen of the bond were taken in " +
      "all, and {buyer} got what this offence took.",
    zh: "链上已收到该序号的两张回执：保证金共扣除 {taken} 分，本次违规所扣部分归 {buyer}。",
  },
  providerFlagged: {
    en: "{provider} is flagged for {count} such positions, the first in {block}.",
    zh: "{provider} 因 {count} 个此类序号被标记，首次于{block}。",
  },
  otherRequestUnknown: {
    en:
      "That {buyer} signed no other request for this position is not shown: its log shows this one.",
    zh: "不能证明 {buyer} 没有为该序号签署其他请求：其日志载有本请求。",
  },
  requestLogged: {
    en:
      "The request of {buyer} for this position is entry {index} of its log, anchored in {block}; " +
      "the receipt names another one.",
    zh: "{buyer} 对该序号的请求是其日志的第 {index} 条记录，锚定于{block}；回执指明的是另一请求。",
  },
  requestAnswered: {
    en: "It answers the request that {buyer} signed.",
    zh: "该回执对应 {buyer} 签署的请求。",
  },
  priceDiffers: {
    en: "At {price} fen a unit, {units} units cost {cost} fen.",
    zh: "按单价 {price} 分，{units} 个单位应计 {cost} 分。",
  },
  requestExceeded: {
    en: "The request allowed {units} units and {amount} fen at most.",
    zh: "请求最多允许 {units} 个单位、{amount} 分。",
  },
  callExceeded: {
    en: "The agreement allows {amount} fen a call at most.",
    zh: "合同每次调用最多允许 {amount} 分。",
  },
  totalsDiffer: {
    en:
      "Its totals are {totalUnits} units and {totalAmount} fen; after what the request acknowledges " +
      "they are {units} units and {amount} fen.",
    zh:
      "回执的累计为 {totalUnits} 个单位、{totalAmount} 分；按请求所确认的累计应为 " +
      "{units} 个单位、{amount} 分。",
  },
  viewedRevoked: {
    en: "It names a view of {view}; the grant had been revoked in {block}.",
    zh: "回执依据{view}的链视图；授权已于{block}撤销。",
  },
  receiptVoided: {
    en: "{provider} voided it: {reason}.",
    zh: "{provider} 已作废该回执：{reason}。",
  },
  answerUnreadable: {
    en: "What was served cannot be opened with the contest's key: it is no answer.",
    zh: "重新提供的内容无法用异议密钥打开：不是应答。",
  },
  answerDiffers: {
    en: "What was served opens with the contest's key, and is not what the receipt commits to.",
    zh: "重新提供的内容可用异议密钥打开，但与回执的承诺值不符。",
  },

  // --- Grant ------------------------------------------------------------------------------------
  assetRegistered: {
    en:
      "The asset {name} of {holder}, version {version}, grade L{grade}, {rows} records, " +
      "is registered on the chain.",
    zh: "{holder} 的数据资产 {name}，版本 {version}，分级 L{grade}，{rows} 条记录，已在链上登记。",
  },
  grantAsked: {
    en:
      "{grantee} asked {owner} for: {operations}, purpose {purpose}, scene {scene}, " +
      "at most {uses} uses, from {from} to {to}{columns}.",
    zh:
      "{grantee} 向 {owner} 申请：{operations}，用途 {purpose}，场景 {scene}，" +
      "最多 {uses} 次，期限 {from} 至 {to}{columns}。",
  },
  columns: { en: ", columns {names}", zh: "，列 {names}" },
  none: { en: "", zh: "" },
  comma: { en: ", ", zh: "、" },
  view: { en: "view", zh: "查看" },
  export: { en: "export", zh: "导出" },
  use: { en: "use", zh: "使用" },
  copy: { en: "copy", zh: "复制" },
  train: { en: "train", zh: "训练" },
  compute: { en: "compute", zh: "计算" },
  noReason: { en: "none", zh: "无" },
  scopeClosed: {
    en:
      "The scope is committed to and not opened in this bundle: " +
      "which columns the grant covers is not shown.",
    zh: "列的范围只有承诺值，本证据包没有公开：不能证明授权包括哪些列。",
  },
  grantApproved: {
    en:
      "The chief data officer of {owner} approved it in {block}; the decision is in the " +
      "owner's log, anchored in {anchor}.",
    zh: "{owner} 的首席数据官于{block}批准；决定载于其日志，锚定于{anchor}。",
  },
  grantRefused: {
    en:
      "The chief data officer of {owner} refused it in {block}; the decision is in the " +
      "owner's log, anchored in {anchor}.",
    zh: "{owner} 的首席数据官于{block}拒绝；决定载于其日志，锚定于{anchor}。",
  },
  notRevoked: {
    en: "It was not revoked up to the block of the proof.",
    zh: "截至证明所依据的区块，授权没有撤销。",
  },
  revokedByChain: {
    en:
      "{owner} revoked it in {block}; the chain says so, the signed revocation with its reason " +
      "is not in this bundle.",
    zh: "{owner} 于{block}撤销；链上有此记录，载有原因的签名撤销不在本证据包中。",
  },
  revoked: {
    en:
      "{owner} revoked it in {block}, for the reason {reason}; the revocation is in its log, " +
      "anchored in {anchor}.",
    zh: "{owner} 于{block}撤销，原因 {reason}；撤销载于其日志，锚定于{anchor}。",
  },

  // --- Credit -----------------------------------------------------------------------------------
  queryMade: {
    en:
      "{bank} made a one-stop credit query, by its own clock at {time}; the chain has it in " +
      "{block}, and the bank's log under the anchor of {anchor}.",
    zh: "{bank} 作了一次信用查询，按其自身时钟为 {time}；链上记录于{block}，银行日志锚定于{anchor}。",
  },
  consented: {
    en:
      "The subject consented to {bank} for {purpose} with a key certified by {issuer}, " +
      "recorded in {block}{later}.",
    zh: "数据主体以 {issuer} 认证的密钥同意 {bank} 用于 {purpose}，记录于{block}{later}。",
  },
  withdrawnLater: {
    en: "; it was withdrawn later, in {block}",
    zh: "；此后于{block}撤回",
  },
  receiptsDelivered: {
    en:
      "{names} delivered to {bank} and signed {count} receipts over {paid} fen, under agreements " +
      "for {purpose} that the chain had opened.",
    zh: "{names} 向 {bank} 提供并签署了 {count} 张回执，共 {paid} 分，依据链上已开通的用途为 {purpose} 的合同。",
  },
  disputesListed: {
    en: "The query was made with {disputes}, shown here; the report itself stays closed.",
    zh: "查询依据{disputes}作出，均在此展示；报告本身没有公开。",
  },
  disputesShown: { en: "{disputes} shown.", zh: "展示了{disputes}。" },
  oneDispute: { en: "1 dispute", zh: " 1 项异议" },
  manyDisputes: { en: "{count} disputes", zh: " {count} 项异议" },
  resultClosed: {
    en:
      "What was asked in the calls stays closed: the bundle does not show that they were about " +
      "the consent's subject, nor that their receipts serve this query alone, nor the grants " +
      "they were served under.",
    zh: "调用的查询内容没有公开：不能证明调用针对该数据主体、回执只用于本次查询，也不能证明所依据的授权。",
  },
  disputesTold: {
    en:
      "The disputes are those that the bank names: that there are no others, " +
      "and that they are the consent's subject's, is not shown.",
    zh: "异议为银行自称收到的异议：不能证明没有其他异议，也不能证明异议属于该数据主体。",
  },
  disputesNotListed: {
    en:
      "The query does not say which disputes the report was made with: " +
      "others may have been left out of this bundle.",
    zh: "查询没有列明报告所依据的异议：本证据包可能遗漏其他异议。",
  },
  disputed: {
    en: "A record of {department} was disputed in {block}.",
    zh: "{department} 的一条记录于{block}被提出异议。",
  },
  repaired: {
    en: "{department} repaired the record in {block} (asset version {version}).",
    zh: "{department} 于{block}修复了该记录（资产版本 {version}）。",
  },
  stoodBy: {
    en: "{department} confirmed the record in {block} (asset version {version}).",
    zh: "{department} 于{block}维持该记录（资产版本 {version}）。",
  },

  // --- Property ---------------------------------------------------------------------------------
  titleStated: {
    en: "{registrar} stated at {time} that the seller may sell unit {unit}{where}.",
    zh: "{registrar} 于 {time} 声明卖方可以出售房屋 {unit}{where}。",
  },
  titleLogged: {
    en: "; it is in the centre's log, anchored in {block}",
    zh: "；声明载于登记中心的日志，锚定于{block}",
  },
  titleNotLogged: {
    en:
      "The title statement is not shown in the registration centre's log: " +
      "only the centre asserts when it was made.",
    zh: "没有日志证明权属声明：其签署时间仅有登记中心的陈述。",
  },
  titleBuiltOn: {
    en: "The title was built on {before}, and the deal was opened with it.{after}",
    zh: "权属声明依据{before}，交易据此开启。{after}",
  },
  noEarlierRegistration: {
    en: "no earlier registration on the chain",
    zh: "链上没有更早登记的状态",
  },
  earlierRegistration: {
    en: "the unit's registration of block {height}",
    zh: "该房屋在区块 {height} 的登记",
  },
  registeredAgain: {
    en: " Another deal of the unit has been registered since.",
    zh: "此后该房屋已登记另一笔交易。",
  },
  keysCertified: {
    en: "{registrar}, a department, certified the one-time keys of seller and buyer.",
    zh: "数源部门 {registrar} 认证了卖方和买方的一次性密钥。",
  },
  stepAgreed: {
    en: "The {step} signed, by its own clock at {time}.",
    zh: "{step}已签署，按其自身时钟为 {time}。",
  },
  stepSigned: {
    en: "{member} signed {step}, by its own clock at {time}{stated}.",
    zh: "{member} 签署了{step}，按其自身时钟为 {time}{stated}。",
  },
  step1: { en: "seller", zh: "卖方" },
  step2: { en: "buyer", zh: "买方" },
  step3: { en: "agent", zh: "经纪机构" },
  step4: { en: "tax", zh: "税务" },
  step5: { en: "mortgage", zh: "抵押贷款" },
  step6: { en: "notary", zh: "公证" },
  step7: { en: "register", zh: "登记" },
  statedTax: {
    en: ": taxes of {total} fen, computed again from {rules}",
    zh: "：税款 {total} 分，已按 {rules} 重新计算",
  },
  statedLoan: {
    en: ": loan of {loan} fen, contract {contract}",
    zh: "：贷款 {loan} 分，合同 {contract}",
  },
  statedCertificate: { en: ": certificate {certificate}", zh: "：证书 {certificate}" },
  dealRegistered: {
    en: "The deal opened in {opened} and was registered in {ended}.",
    zh: "交易于{opened}开启，于{ended}登记。",
  },
  dealExpired: {
    en: "The deal opened in {opened} and expired in {ended}.",
    zh: "交易于{opened}开启，于{ended}过期。",
  },
  dealUnderWay: {
    en: "The deal opened in {opened} and is under way.",
    zh: "交易于{opened}开启，正在进行。",
  },
} satisfies Record<string, Record<Language, string>>;
