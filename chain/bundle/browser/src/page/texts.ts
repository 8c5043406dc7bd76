/** The page's own texts. */
import type { Language } from "../sentences.ts";

export const TEXTS = {
  skip: { en: "Skip to the result", zh: "跳到核验结果" },
  title: { en: "Check a bundle", zh: "核验证据包" },
  introduction: {
    en:
      "A bundle is a file that proves a trade, a grant, a credit query or a property deal. This " +
      "page computes everything in it again and checks it against your own trust file.",
    zh: "证据包是证明一笔交易、一项授权、一次信用查询或一笔不动产交易的文件。本页重新计算其全部内容，并按您自己的信任文件核验。",
  },
  offline: {
    en: "Your files stay on this machine: the page has no network access and stores nothing.",
    zh: "您的文件不会离开本机：本页不能访问网络，也不保存任何内容。",
  },
  files: { en: "Files", zh: "文件" },
  bundle: { en: "Bundle", zh: "证据包" },
  bundleHint: { en: "Choose the file, or drop it here.", zh: "选择文件，或拖放到这里。" },
  trust: { en: "Trust file", zh: "信任文件" },
  trustHint: {
    en: "Yours, from a source you trust. It never comes with the bundle.",
    zh: "使用您自己可信来源的信任文件，不要使用随证据包提供的信任文件。",
  },
  compare: {
    en:
      "Is this page the released one? Compare its SHA-256 with the one that the release names: " +
      "sha256sum verifier.html, or certutil -hashfile verifier.html SHA256 on Windows. Get the " +
      "page from the release, not from the node whose bundle you check.",
    zh:
      "本页是否为正式发布的文件？请将其 SHA-256 与发布说明中的值比较：sha256sum verifier.html，Windows " +
      "上用 certutil -hashfile verifier.html SHA256。请从发布渠道获取本页，不要从被核验的节点获取。",
  },
  checking: { en: "Checking…", zh: "正在核验……" },
  unreadable: { en: "The file cannot be read.", zh: "文件无法读取。" },
  tooLarge: { en: "The file is larger than this page reads.", zh: "文件超过本页可读取的大小。" },
  valid: { en: "VALID", zh: "有效" },
  invalid: { en: "NOT VALID", zh: "无效" },
  proved: { en: "What it proves", zh: "证明的内容" },
  limits: { en: "What it does not show", zh: "不能证明的内容" },
  details: { en: "Details", zh: "详情" },
  kind: { en: "Kind of bundle", zh: "证据包种类" },
  newestBlock: { en: "Proved up to block", zh: "证明截至区块" },
  bundleHash: { en: "SHA-256 of the bundle", zh: "证据包的 SHA-256" },
  trustHash: { en: "SHA-256 of the trust file", zh: "信任文件的 SHA-256" },
  duration: { en: "Time taken", zh: "用时" },
  code: { en: "Code", zh: "代码" },
  reason: { en: "Reason", zh: "原因" },
  next: { en: "What to do", zh: "处理办法" },
  found: { en: "Found", zh: "发现" },
  print: { en: "Print this result", zh: "打印核验结果" },
  bytes: { en: "bytes", zh: "字节" },
  trade: { en: "trade: one call, from agreement to payout", zh: "交易：一次调用，从合同到支付" },
  lane: { en: "lane: the calls of one lane", zh: "通道：一个计量通道的调用" },
  grant: { en: "grant: its request, decision and revocation", zh: "授权：申请、决定与撤销" },
  credit: { en: "credit: a query under a consent", zh: "信用：同意之下的一次查询" },
  property: { en: "property: a deal and its taxes", zh: "不动产：一笔交易及其税款" },
  kind10: { en: "The file is malformed.", zh: "格式错误。" },
  kind11: { en: "A signature is wrong.", zh: "签名错误。" },
  kind12: { en: "Something is not in its log.", zh: "不在日志中。" },
  kind13: { en: "Something is not anchored on the chain.", zh: "未锚定上链。" },
  kind14: { en: "A block is not final.", zh: "区块未达终局。" },
  kind15: { en: "The trust file does not fit.", zh: "信任文件不符。" },
  kind16: { en: "The contents contradict each other.", zh: "内容相互矛盾。" },
} satisfies Record<string, Record<Language, string>>;

export type TextName = keyof typeof TEXTS;
