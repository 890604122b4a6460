/** Every sentence of the page in Korean, with the names of texts/en.js. */

/** @param {number} value */
const two = (value) => value.toFixed(2);

/** @type {import("./en.js").Texts} */
export const ko = {
  page: {
    language: "한국어",
    title: "변분 오토인코더와 놀기",
    brand: "잠재 공간",
    model: "모델",
    languages: "언어",
    tour: "둘러보기",
    key: "키",
    skip: "패널로 건너뛰기",
    panels: "패널",
    tabs: {
      map: "지도",
      draw: "그리기",
      noise: "노이즈",
      dimensions: "차원",
      samples: "샘플",
      between: "사이",
      kinds: "AE와 VAE",
      loss: "손실",
    },
    none: "서버에 아직 모델이 없습니다. 모델이 올라오면 이어서 진행합니다.",
    changed: (label) => `서버의 버전이 ${label}(으)로 바뀌었습니다. 이 버전을 사용합니다.`,
    moved: (asked, got) => `서버에 ${asked}이(가) 없어 ${got}을(를) 보여 줍니다.`,
  },
  trouble: {
    offline: "서버가 응답하지 않습니다. 자동으로 다시 시도합니다.",
    back: "서버가 다시 응답합니다.",
    busy: (seconds) => `서버가 바쁩니다. ${seconds}초 뒤에 다시 시도합니다.`,
    gone: "서버에 이 버전이 더 이상 없습니다. 다른 버전을 찾는 중입니다.",
    refused: (detail) => `서버가 거절했습니다: ${detail}`,
    failed: (detail) => `서버 오류: ${detail}`,
  },
  key: {
    title: "이 서버는 키가 필요합니다",
    lead: "키는 이 페이지의 메모리에만 있고, 주소에는 들어가지 않습니다.",
    wrong: "서버가 모르는 키입니다. 다른 키를 입력하세요.",
    label: "API 키",
    keep: "이 탭을 닫을 때까지 보관",
    send: "이 키 사용",
  },
  copy: {
    title: "이 화면을 만든 요청",
    curl: "curl로 복사",
    python: "Python으로 복사",
    line: "요청",
    copied: "복사했습니다.",
    selected: "여기서는 클립보드를 쓸 수 없습니다. 선택된 줄을 Ctrl+C로 복사하세요.",
    save: "저장",
  },
  map: {
    lead: "이 평면의 모든 점은 이미지입니다. 움직이면 손끝의 점을 디코더가 바로 그립니다.",
    plot: "잠재 공간의 지도",
    keys: "화살표 키는 점을 0.05씩, Shift와 함께 0.5씩 옮깁니다. Home은 원점으로 갑니다. 클릭하면 점이 고정됩니다.",
    digit: "점을 디코딩한 이미지",
    legend: "지도에 있는 실제 이미지의 종류",
    right: "오른쪽",
    up: "위쪽",
    through: "세 이미지를 지나는 평면",
    back: "두 차원으로 돌아가기",
    toDraw: "이 이미지 인코딩",
    home: "원점으로",
    name: "지도에서",
    at: (point, label) => `점 ${point}${label ? `, 가장 가까운 실제 이미지는 ${label}입니다` : ""}.`,
    near: (label, distance) => `가장 가까운 실제 이미지${label ? `: ${label}` : ""}, 거리 ${distance}`,
    thumbnail: (label) => `가장 가까운 실제 이미지${label ? `: ${label}` : ""}`,
    slice: (size) => `${size}차원을 자른 단면입니다. 나머지 차원은 현재 점의 값을 유지하고, 점들은 실제 이미지의 그림자입니다.`,
    throughAbout: "실제 이미지 세 개를 지나는 평면이라 모델이 쓰는 영역을 지나갑니다.",
    noPreview: "이 버전에는 미리보기가 없어 실제 이미지를 표시하지 않습니다.",
  },
  draw: {
    lead: "숫자를 그려 보세요. 인코더는 영역으로, 디코더는 다시 그린 숫자로 답합니다.",
  },
  noise: {
    lead: "z = μ + σ · ε",
  },
  dimensions: {
    lead: "잠재 차원마다 슬라이더가 하나씩 있습니다.",
  },
  samples: {
    lead: "사전 분포에서 뽑은 새 이미지입니다.",
  },
  between: {
    lead: "한 이미지에서 다른 이미지로 가는 길입니다.",
  },
  kinds: {
    lead: "오토인코더와 변분 오토인코더를 나란히 봅니다.",
  },
  loss: {
    lead: "재구성 오차와 β · KL입니다.",
  },
  tour: {},
  units: {
    nats: (value) => `${value.toFixed(1)} nats`,
    point: (z) => `(${z.map(two).join(", ")})`,
  },
};
